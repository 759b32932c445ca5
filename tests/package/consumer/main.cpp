#include <puna.h>
#if __has_include(<puna.hpp>)
#include <puna.hpp>
#endif
#include <iostream>

int main() {
    puna_error error;
    puna_error_init(&error, sizeof error);
    puna_model* model = nullptr;
    const int32_t status = puna_model_open(&model, nullptr, "no-such-model.gguf", nullptr, &error);
    std::cout << "puna " << puna_version() << ": " << error.text << '\n';
    return status != 0 && model == nullptr ? 0 : 1;
}
