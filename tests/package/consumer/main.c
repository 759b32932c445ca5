/* Opens a model that is not there: the whole library is linked, and says so politely. */
#include <puna.h>
#include <stdio.h>

int main(void) {
    puna_error error;
    puna_model* model = NULL;
    int32_t status;
    puna_error_init(&error, sizeof error);
    status = puna_model_open(&model, NULL, "no-such-model.gguf", NULL, &error);
    printf("puna %s, ABI %u: %s\n", puna_version(), (unsigned)puna_abi_version(), error.text);
    return status != 0 && model == NULL && puna_abi_version() == PUNA_ABI_VERSION ? 0 : 1;
}
