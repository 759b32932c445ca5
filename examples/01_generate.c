/* Continues a text with a model: the smallest whole program.
 *   01_generate MODEL "Once upon a time"
 * MODEL is a GGUF file, a Hugging Face or Meta folder, or a Meta .pth. */
#include <puna.h>

#include <stdio.h>
#include <string.h>

/* Text arrives in whole characters, as it is made. A value other than 0 would stop the work. */
static int32_t PUNA_CALL show(void* user, const char* text, size_t length) {
  (void)user;
  if (fwrite(text, 1, length, stdout) != length) return 1;
  return fflush(stdout) != 0;
}

int main(int argc, char** argv) {
  puna_error error;
  puna_model* model = NULL;
  puna_session* session = NULL;
  int32_t status;

  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
    return 2;
  }
  puna_error_init(&error, sizeof error);
  status = puna_model_open(&model, NULL, argv[1], NULL, &error);
  if (status == PUNA_OK) status = puna_session_create(&session, model, NULL, &error);
  if (status == PUNA_OK) {
    fputs(argv[2], stdout);
    status = puna_session_generate(session, argv[2], strlen(argv[2]), NULL, show, NULL, &error);
    putchar('\n');
  }
  if (status != PUNA_OK) fprintf(stderr, "%s\n", error.text);

  puna_session_destroy(session);
  puna_model_destroy(model);
  return status != PUNA_OK;
}
