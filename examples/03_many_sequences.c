/* Several continuations of one prompt, computed side by side: the prompt once, a fork for each, one token of every
 * sequence per step. What a sequence says does not depend on its neighbours.
 *   03_many_sequences MODEL "Once upon a time" [TOKENS] */
#include <puna.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCES 4
#define MAX_PROMPT 512
#define MAX_TEXT 8192

typedef struct {
  puna_sampler* sampler;
  puna_detokenizer* detokenizer;
  int32_t next; /* the token to feed; -1: this one has ended */
  char text[MAX_TEXT];
  size_t length;
} teller;

static int32_t teller_create(teller* t, const puna_tokenizer* tokenizer, uint64_t seed, puna_error* error) {
  int32_t status = puna_sampler_create(&t->sampler, seed, error);
  if (status == PUNA_OK) status = puna_sampler_add_top_p(t->sampler, 0.9, error);
  if (status == PUNA_OK) status = puna_sampler_add_temperature(t->sampler, 0.8, error);
  if (status == PUNA_OK) status = puna_detokenizer_create(&t->detokenizer, tokenizer, error);
  return status;
}

/* Feeds the detokenizer and keeps the text. */
static int32_t teller_say(teller* t, int32_t id, puna_error* error) {
  const char* text;
  size_t length;
  int32_t status = puna_detokenizer_feed(t->detokenizer, id, &text, &length, error);
  if (status != PUNA_OK) return status;
  if (length > MAX_TEXT - t->length) length = MAX_TEXT - t->length;
  memcpy(t->text + t->length, text, length);
  t->length += length;
  return PUNA_OK;
}

/* Draws the sequence's next token from one row of logits. */
static int32_t teller_draw(teller* t, const puna_session* session, uint32_t row, int32_t eos, puna_error* error) {
  const float* logits;
  size_t count;
  int32_t status = puna_session_logits(session, row, &logits, &count, error);
  if (status == PUNA_OK) status = puna_sampler_sample(t->sampler, logits, count, &t->next, error);
  if (status == PUNA_OK) status = puna_sampler_accept(t->sampler, t->next, error);
  if (status != PUNA_OK) return status;
  if (t->next == eos) {
    t->next = -1;
    return PUNA_OK;
  }
  return teller_say(t, t->next, error);
}

/* One token of every sequence that goes on. *alive: how many did. */
static int32_t step(puna_session* session, teller* tellers, int32_t eos, int* alive, puna_error* error) {
  int32_t ids[SEQUENCES], status;
  uint32_t sequences[SEQUENCES], i;
  puna_batch batch;
  puna_batch_init(&batch, sizeof batch);
  for (i = 0; i < SEQUENCES; ++i)
    if (tellers[i].next >= 0) {
      ids[batch.count] = tellers[i].next;
      sequences[batch.count++] = i;
    }
  *alive = (int)batch.count;
  if (batch.count == 0) return PUNA_OK;
  batch.ids = ids;
  batch.sequences = sequences;
  status = puna_session_feed(session, &batch, error);
  for (i = 0; i < batch.count && status == PUNA_OK; ++i)
    status = teller_draw(&tellers[sequences[i]], session, i, eos, error);
  return status;
}

static int32_t tell(puna_session* session, const puna_tokenizer* tokenizer, const char* prompt, int tokens,
                    teller* tellers, puna_error* error) {
  const int32_t eos = puna_tokenizer_special(tokenizer, PUNA_SPECIAL_EOS);
  int32_t ids[MAX_PROMPT], status;
  size_t count, j;
  uint32_t i;
  int n, alive = 1;
  puna_batch batch;

  status = puna_tokenizer_encode(tokenizer, prompt, strlen(prompt), NULL, ids, MAX_PROMPT, &count, error);
  if (status != PUNA_OK) return status;
  puna_batch_init(&batch, sizeof batch);
  batch.ids = ids;
  batch.count = (uint32_t)count;
  status = puna_session_feed(session, &batch, error); /* the prompt, once, into sequence 0 */
  for (i = 0; i < SEQUENCES && status == PUNA_OK; ++i) {
    if (i > 0) status = puna_session_fork(session, 0, i, error); /* copies nothing until it must */
    if (status == PUNA_OK) status = teller_create(&tellers[i], tokenizer, i, error);
    for (j = 0; j < count && status == PUNA_OK; ++j) status = teller_say(&tellers[i], ids[j], error);
    if (status == PUNA_OK) status = teller_draw(&tellers[i], session, (uint32_t)count - 1, eos, error);
  }
  for (n = 1; n < tokens && alive > 0 && status == PUNA_OK; ++n) status = step(session, tellers, eos, &alive, error);
  return status;
}

int main(int argc, char** argv) {
  static teller tellers[SEQUENCES];
  puna_error error;
  puna_model* model = NULL;
  puna_session* session = NULL;
  puna_session_options options;
  int32_t status;
  int i;

  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL TEXT [TOKENS]\n", argv[0]);
    return 2;
  }
  puna_error_init(&error, sizeof error);
  puna_session_options_init(&options, sizeof options);
  options.sequences = SEQUENCES;
  status = puna_model_open(&model, NULL, argv[1], NULL, &error);
  if (status == PUNA_OK) status = puna_session_create(&session, model, &options, &error);
  if (status == PUNA_OK)
    status = tell(session, puna_model_tokenizer(model), argv[2], argc > 3 ? atoi(argv[3]) : 64, tellers, &error);
  if (status != PUNA_OK) fprintf(stderr, "%s\n", error.text);
  for (i = 0; i < SEQUENCES; ++i) {
    if (status == PUNA_OK) printf("%d: %.*s\n", i, (int)tellers[i].length, tellers[i].text);
    puna_sampler_destroy(tellers[i].sampler);
    puna_detokenizer_destroy(tellers[i].detokenizer);
  }
  puna_session_destroy(session);
  puna_model_destroy(model);
  return status != PUNA_OK;
}
