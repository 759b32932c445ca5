/* Several adapters on one model in memory: what it says without, with each alone, and with all together at half their scale.
 * A switch costs nothing: the weights stay, the adapters are products beside them.
 *   05_adapters MODEL "Once upon a time" ADAPTER... */
#include <puna.h>

#include <stdio.h>
#include <string.h>

#define MAX_ADAPTERS 8

static int32_t PUNA_CALL show(void* user, const char* text, size_t length) {
  (void)user;
  return fwrite(text, 1, length, stdout) == length ? 0 : 1;
}

static int32_t say(puna_session* session, const char* name, const char* prompt, puna_error* error) {
  puna_generate_options options;
  int32_t status;
  puna_generate_options_init(&options, sizeof options);
  options.max_tokens = 48;
  printf("%s: ", name);
  status = puna_session_generate(session, prompt, strlen(prompt), &options, show, NULL, error);
  printf("\n");
  return status;
}

/* The prompt is read anew each time: what an adapter changes, it changes in the cache too. */
static int32_t say_with(puna_session* session, const char* name, const char* prompt, const puna_adapter* const* adapters,
                        const float* scales, size_t count, puna_error* error) {
  int32_t status = puna_session_truncate(session, 0, 0, error);
  if (status == PUNA_OK) status = puna_session_set_adapters(session, adapters, scales, count, error);
  return status == PUNA_OK ? say(session, name, prompt, error) : status;
}

int main(int argc, char** argv) {
  puna_error error;
  puna_model* model = NULL;
  puna_session* session = NULL;
  puna_adapter* adapters[MAX_ADAPTERS] = {NULL};
  const puna_adapter* all[MAX_ADAPTERS];
  float halves[MAX_ADAPTERS];
  int32_t status;
  int i, count = argc - 3;

  if (argc < 4 || count > MAX_ADAPTERS) {
    fprintf(stderr, "usage: %s MODEL TEXT ADAPTER...\n", argv[0]);
    return 2;
  }
  puna_error_init(&error, sizeof error);
  status = puna_model_open(&model, NULL, argv[1], NULL, &error);
  if (status == PUNA_OK) status = puna_session_create(&session, model, NULL, &error);
  for (i = 0; i < count && status == PUNA_OK; ++i) {
    status = puna_adapter_open(&adapters[i], model, argv[3 + i], &error);
    all[i] = adapters[i];
    halves[i] = 0.5f;
  }
  if (status == PUNA_OK) status = say_with(session, "the model alone", argv[2], NULL, NULL, 0, &error);
  for (i = 0; i < count && status == PUNA_OK; ++i)
    status = say_with(session, argv[3 + i], argv[2], &all[i], NULL, 1, &error);
  if (status == PUNA_OK && count > 1)
    status = say_with(session, "all, each by half", argv[2], all, halves, (size_t)count, &error);
  if (status != PUNA_OK) fprintf(stderr, "%s\n", error.text);
  for (i = 0; i < count; ++i) puna_adapter_destroy(adapters[i]);
  puna_session_destroy(session);
  puna_model_destroy(model);
  return status != PUNA_OK;
}
