// Layouts of puna.h, pinned: a change here breaks binaries that exist. 64-bit and 32-bit machines, whatever the ABI says
// about aligning 8-byte members (i386 System V: 4; armhf, Win32, wasm32: 8): such members stand at multiples of 8.
#include "puna.h"
#include "puna/base/status.hpp"
#include "puna/infer/generate.hpp"
#include "puna/io/weight_source.hpp"
#include "puna/train/data.hpp"

namespace {

constexpr bool wide = sizeof(void*) == 8;
constexpr std::size_t at(std::size_t on64, std::size_t on32) { return wide ? on64 : on32; }

#define PUNA_AT(type, field, on64, on32) static_assert(offsetof(type, field) == at(on64, on32), #type "." #field)
#define PUNA_SIZE(type, on64, on32) static_assert(sizeof(type) == at(on64, on32), #type)

PUNA_AT(puna_error, code, 4, 4);
PUNA_AT(puna_error, user_code, 8, 8);
PUNA_AT(puna_error, text, 16, 16);
PUNA_SIZE(puna_error, 512, 512);

PUNA_AT(puna_progress, phase, 4, 4);
PUNA_AT(puna_progress, done, 8, 8);
PUNA_AT(puna_progress, total, 16, 16);
PUNA_AT(puna_progress, elapsed_ms, 24, 24);
PUNA_SIZE(puna_progress, 32, 32);

PUNA_AT(puna_model_options, flags, 4, 4);
PUNA_AT(puna_model_options, tokenizer, 8, 8);
PUNA_AT(puna_model_options, cancel, 16, 12);
PUNA_AT(puna_model_options, progress, 24, 16);
PUNA_AT(puna_model_options, progress_user, 32, 20);
PUNA_SIZE(puna_model_options, 40, 24);

PUNA_AT(puna_session_options, context, 4, 4);
PUNA_AT(puna_session_options, cache_tokens, 12, 12);
PUNA_AT(puna_session_options, cache_type, 24, 24);
PUNA_AT(puna_session_options, threads, 28, 28);
PUNA_AT(puna_session_options, speculate, 32, 32);
PUNA_SIZE(puna_session_options, 36, 36);

PUNA_AT(puna_session_info, cache_tokens, 16, 16);
PUNA_AT(puna_session_info, cache_type, 36, 36);
PUNA_SIZE(puna_session_info, 48, 48);

PUNA_SIZE(puna_token_logprob, 8, 8);
PUNA_AT(puna_token_event, id, 4, 4);
PUNA_AT(puna_token_event, text, 8, 8);
PUNA_AT(puna_token_event, top, 24, 16);
PUNA_AT(puna_token_event, top_count, 32, 20);
PUNA_AT(puna_token_event, logprob, 36, 24);
PUNA_SIZE(puna_token_event, 40, 28);

PUNA_AT(puna_generate_options, flags, 4, 4);
PUNA_AT(puna_generate_options, max_tokens, 8, 8);
PUNA_AT(puna_generate_options, stop_count, 20, 20);
PUNA_AT(puna_generate_options, stop, 24, 24);
PUNA_AT(puna_generate_options, sampler, 32, 28);
PUNA_AT(puna_generate_options, prompt_ids, 40, 32);
PUNA_AT(puna_generate_options, cancel, 56, 40);
PUNA_AT(puna_generate_options, on_token, 80, 52);
PUNA_AT(puna_generate_options, speculate, 96, 60);
PUNA_AT(puna_generate_options, draft, 104, 68);
PUNA_SIZE(puna_generate_options, 112, 72);

PUNA_AT(puna_generate_result, stop, 4, 4);
PUNA_AT(puna_generate_result, prompt_ms, 16, 16);
PUNA_AT(puna_generate_result, proposed, 32, 32);
PUNA_SIZE(puna_generate_result, 40, 40);

PUNA_AT(puna_runtime_options, threads, 4, 4);
PUNA_AT(puna_runtime_options, memory_limit, 8, 8);
PUNA_AT(puna_runtime_options, spin_us, 16, 16);
PUNA_AT(puna_runtime_options, allocate, 24, 24);
PUNA_AT(puna_runtime_options, log, 48, 36);
PUNA_AT(puna_runtime_options, parallel_for, 64, 44);
PUNA_AT(puna_runtime_options, tasks_user, 72, 48);

PUNA_AT(puna_runtime_info, threads, 4, 4);
PUNA_AT(puna_runtime_info, memory_used, 8, 8);
PUNA_AT(puna_runtime_info, isa, 32, 32);
PUNA_SIZE(puna_runtime_info, 64, 64);

PUNA_AT(puna_source, kind, 4, 4);
PUNA_AT(puna_source, offset, 16, 16);
PUNA_AT(puna_source, size, 24, 24);
PUNA_AT(puna_source, path, 32, 32);
PUNA_AT(puna_source, sha256, 64, 48);

PUNA_AT(puna_model_info, dim, 4, 4);
PUNA_AT(puna_model_info, parameters, 40, 40);
PUNA_AT(puna_model_info, rope_theta, 64, 64);
PUNA_AT(puna_model_info, decode_bytes, 72, 72);
PUNA_SIZE(puna_model_info, 96, 96);

PUNA_AT(puna_plan, memory_bytes, 8, 8);
PUNA_AT(puna_plan, load_ms, 56, 56);
PUNA_SIZE(puna_plan, 80, 80);

PUNA_AT(puna_machine_speed, read_bytes, 8, 8);
PUNA_AT(puna_machine_speed, int8_instruction, 32, 32);
PUNA_SIZE(puna_machine_speed, 96, 96);

PUNA_AT(puna_tensor_info, bytes, 8, 8);
PUNA_AT(puna_tensor_info, name, 16, 16);
PUNA_AT(puna_tensor_info, shape, 32, 24);

PUNA_SIZE(puna_encode_options, 24, 24);
PUNA_AT(puna_token_info, piece, 8, 8);
PUNA_AT(puna_token_info, score, 24, 16);

PUNA_AT(puna_batch, ids, 8, 8);
PUNA_AT(puna_batch, want_logits, 40, 24);

PUNA_AT(puna_perplexity_options, context, 8, 8);
PUNA_AT(puna_perplexity_options, cancel, 16, 16);
PUNA_AT(puna_perplexity, nll, 8, 8);
PUNA_SIZE(puna_perplexity, 32, 32);

PUNA_AT(puna_quantize_options, format, 8, 8);
PUNA_AT(puna_quantize_options, type, 16, 16);
PUNA_AT(puna_quantize_options, overrides, 32, 24);
PUNA_AT(puna_quantize_options, shard_bytes, 48, 32);
PUNA_AT(puna_quantize_options, cancel, 56, 40);
PUNA_AT(puna_quantize_result, bytes, 8, 8);
PUNA_SIZE(puna_quantize_result, 24, 24);
PUNA_AT(puna_calibrate_options, chunks, 8, 8);
PUNA_AT(puna_calibrate_options, cancel, 16, 16);

PUNA_AT(puna_message, text, 8, 8);
PUNA_SIZE(puna_message, 24, 16);
PUNA_SIZE(puna_chat_options, 16, 16);
PUNA_AT(puna_data_options, sample, 32, 32);
PUNA_AT(puna_data_options, chat_template, 40, 40);
PUNA_AT(puna_data_info, rows, 16, 16);
PUNA_AT(puna_data_info, chat_template, 72, 72);
PUNA_AT(puna_data_finding, line, 8, 8);
PUNA_AT(puna_data_finding, text, 16, 16);
PUNA_AT(puna_data_row, line, 8, 8);
PUNA_AT(puna_data_row, count, 16, 16);
PUNA_AT(puna_data_row, ids, 24, 20);
PUNA_AT(puna_data_row, loss, 32, 24);

PUNA_AT(puna_train_event, step, 8, 8);
PUNA_AT(puna_train_event, tokens, 56, 56);
PUNA_SIZE(puna_train_event, 104, 104);
PUNA_AT(puna_train_options, alpha, 16, 16);
PUNA_AT(puna_train_options, clip, 80, 80);
PUNA_AT(puna_train_options, beta, 88, 88);
PUNA_AT(puna_train_options, seed, 128, 128);
PUNA_AT(puna_train_options, held_out_permille, 144, 144);
PUNA_AT(puna_train_options, checkpoint, 152, 152);
PUNA_AT(puna_train_options, event, 168, 164);
PUNA_AT(puna_train_options, reserved, 184, 172);
PUNA_SIZE(puna_train_options, 192, 176);
PUNA_AT(puna_train_info, rows, 24, 24);
PUNA_AT(puna_train_plan, seconds, 80, 80);
PUNA_SIZE(puna_train_plan, 120, 120);
PUNA_SIZE(puna_train_info, 104, 104);

// The core's codes are the ABI's.
constexpr bool same(puna::Code code, std::int32_t status) { return static_cast<std::int32_t>(code) == status; }
static_assert(same(puna::Code::ok, PUNA_OK) && same(puna::Code::argument, PUNA_E_ARGUMENT) && same(puna::Code::memory, PUNA_E_MEMORY));
static_assert(same(puna::Code::io, PUNA_E_IO) && same(puna::Code::format, PUNA_E_FORMAT) && same(puna::Code::unsupported, PUNA_E_UNSUPPORTED));
static_assert(same(puna::Code::context_full, PUNA_E_CONTEXT_FULL) && same(puna::Code::cancelled, PUNA_E_CANCELLED));
static_assert(same(puna::Code::callback, PUNA_E_CALLBACK) && same(puna::Code::busy, PUNA_E_BUSY) && same(puna::Code::state, PUNA_E_STATE));
static_assert(same(puna::Code::hash, PUNA_E_HASH) && same(puna::Code::encoding, PUNA_E_ENCODING) && same(puna::Code::internal, PUNA_E_INTERNAL));
static_assert(static_cast<int>(puna::StopCause::eos) == PUNA_STOP_EOS && static_cast<int>(puna::StopCause::length) == PUNA_STOP_LENGTH);
static_assert(static_cast<int>(puna::StopCause::context) == PUNA_STOP_CONTEXT && static_cast<int>(puna::StopCause::stop_string) == PUNA_STOP_STRING);
static_assert(static_cast<int>(puna::Speculate::suffix) == PUNA_SPECULATE_SUFFIX && static_cast<int>(puna::Speculate::draft) == PUNA_SPECULATE_DRAFT);
static_assert(static_cast<int>(puna::DType::f32) == PUNA_CACHE_F32 && static_cast<int>(puna::DType::f16) == PUNA_CACHE_F16);
static_assert(static_cast<int>(puna::DType::q8_0) == PUNA_CACHE_Q8_0 && static_cast<int>(puna::DType::q4_0) == PUNA_CACHE_Q4_0);
static_assert(puna::token_normal == PUNA_TOKEN_NORMAL && puna::token_unknown == PUNA_TOKEN_UNKNOWN && puna::token_control == PUNA_TOKEN_CONTROL);
static_assert(puna::token_user_defined == PUNA_TOKEN_USER_DEFINED && puna::token_unused == PUNA_TOKEN_UNUSED && puna::token_byte == PUNA_TOKEN_BYTE);
template <class E>
constexpr bool is(E value, std::int32_t number) { return static_cast<std::int32_t>(value) == number; }
static_assert(is(puna::Role::system, PUNA_ROLE_SYSTEM) && is(puna::Role::user, PUNA_ROLE_USER) && is(puna::Role::assistant, PUNA_ROLE_ASSISTANT));
static_assert(is(puna::TagPolicy::refuse, PUNA_TAGS_REFUSE) && is(puna::TagPolicy::neutralise, PUNA_TAGS_NEUTRALISE) && is(puna::TagPolicy::keep, PUNA_TAGS_KEEP));
static_assert(is(puna::DataFormat::jsonl, PUNA_DATA_JSONL) && is(puna::DataFormat::json, PUNA_DATA_JSON) && is(puna::DataFormat::csv, PUNA_DATA_CSV));
static_assert(is(puna::DataFormat::automatic, PUNA_DATA_AUTO) && is(puna::DataFormat::text, PUNA_DATA_TEXT) && is(puna::RowShape::text, PUNA_ROWS_TEXT));
static_assert(is(puna::RowShape::messages, PUNA_ROWS_MESSAGES) && is(puna::RowShape::sharegpt, PUNA_ROWS_SHAREGPT) && is(puna::RowShape::alpaca, PUNA_ROWS_ALPACA));
static_assert(is(puna::RowShape::prompt, PUNA_ROWS_PROMPT) && is(puna::RowShape::preference, PUNA_ROWS_PREFERENCE));
static_assert(is(puna::TooLong::cut, PUNA_TOO_LONG_CUT) && is(puna::TooLong::drop, PUNA_TOO_LONG_DROP) && is(puna::TooLong::refuse, PUNA_TOO_LONG_REFUSE));
static_assert(is(puna::DataFault::broken, PUNA_FAULT_BROKEN) && is(puna::DataFault::empty_file, PUNA_FAULT_EMPTY_FILE) && is(puna::DataFault::encoding, PUNA_FAULT_ENCODING));
static_assert(is(puna::DataFault::shape, PUNA_FAULT_SHAPE) && is(puna::DataFault::roles, PUNA_FAULT_ROLES) && is(puna::DataFault::empty_answer, PUNA_FAULT_EMPTY_ANSWER));
static_assert(is(puna::DataFault::all_masked, PUNA_FAULT_ALL_MASKED) && is(puna::DataFault::tag, PUNA_FAULT_SPECIAL_TAG));
static_assert(is(puna::DataFault::duplicate, PUNA_FAULT_DUPLICATE) && is(puna::DataFault::too_long, PUNA_FAULT_TOO_LONG));

}  // namespace
