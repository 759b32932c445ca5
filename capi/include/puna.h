/* puna.h: Llama 2 inside your program. C99, C++-clean. Reads from simple to advanced:
 *
 *   1 basics     version, statuses, puna_error
 *   2 generate   puna_model_open, puna_session_create, puna_session_generate: the ten-line program
 *   3 host       puna_runtime (memory, threads, log), puna_cancel, puna_job (step, poll, wait, progress)
 *   4 models     sources, metadata, plan, inspect
 *   5 text       tokenizer, detokenizer
 *   6 sampling   puna_sampler
 *   7 tokens     sequences, feed, logits
 *   8 measures   perplexity
 *   9 slimming   quantize, convert, calibrate
 *  10 data       chat templates, training data
 *  11 training   puna_trainer
 *  12 adapters   puna_adapter, puna_merge
 *
 * Rules that hold everywhere (ABI.md has the whole promise)
 * - Every call that can fail returns a status (PUNA_OK is 0) and takes an optional puna_error* last. On failure outputs
 *   are untouched, but for what is said beside a call (the count of PUNA_E_BUFFER, *done of a job). No call aborts, exits, prints, throws, or installs a signal handler.
 * - Option structs: call their puna_..._init first. They only ever grow at the end; struct_size says which one you know.
 * - puna_..._destroy takes NULL. Children keep what they need of their parents alive, so the order of destroys is free.
 * - A const handle may be used by any number of threads at once, a session's excepted. Others, and every session, by one
 *   thread at a time; two at once, or a call on a handle from its own callback, get PUNA_E_BUSY.
 * - Paths are NUL-terminated UTF-8, on Windows too. Text in is UTF-8 with a length, copied. Text out is borrowed; its
 *   lifetime is stated, and it is NUL-terminated as well where that is said.
 * - Callbacks return 0 to go on; another value stops the work with PUNA_E_CALLBACK and that value in error.user_code.
 */
#ifndef PUNA_H
#define PUNA_H

#include <stddef.h>
#include <stdint.h>

#ifndef PUNA_API
#if defined(_WIN32) && defined(PUNA_DLL)
#ifdef PUNA_BUILDING
#define PUNA_API __declspec(dllexport)
#else
#define PUNA_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define PUNA_API __attribute__((visibility("default")))
#else
#define PUNA_API
#endif
#endif

#ifndef PUNA_CALL
#if defined(_WIN32) && !defined(_WIN64)
#define PUNA_CALL __cdecl
#else
#define PUNA_CALL
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- 1 basics ------------------------------------------------------------------------------------------------- */

#define PUNA_VERSION_MAJOR 0
#define PUNA_VERSION_MINOR 1
#define PUNA_VERSION_PATCH 0
#define PUNA_ABI_VERSION 1

PUNA_API uint32_t PUNA_CALL puna_abi_version(void);   /* of the library that was loaded */
PUNA_API const char* PUNA_CALL puna_version(void);    /* "0.1.0"; static */

/* Statuses: pinned for ever. */
#define PUNA_OK ((int32_t)0)
#define PUNA_E_ARGUMENT ((int32_t)1)     /* a parameter is wrong */
#define PUNA_E_MEMORY ((int32_t)2)       /* the allocator or the memory limit said no */
#define PUNA_E_IO ((int32_t)3)           /* the operating system could not open, read or write */
#define PUNA_E_FORMAT ((int32_t)4)       /* a file's bytes break its format */
#define PUNA_E_UNSUPPORTED ((int32_t)5)  /* well formed, but not for this library (or newer than it) */
#define PUNA_E_CONTEXT_FULL ((int32_t)6) /* no room for more tokens */
#define PUNA_E_CANCELLED ((int32_t)7)
#define PUNA_E_CALLBACK ((int32_t)8)     /* a callback returned non-zero: error.user_code */
#define PUNA_E_BUSY ((int32_t)9)         /* the handle is in use */
#define PUNA_E_STATE ((int32_t)10)       /* legal, but not now */
#define PUNA_E_HASH ((int32_t)11)        /* the bytes are not the pinned ones */
#define PUNA_E_ENCODING ((int32_t)12)    /* not UTF-8 */
#define PUNA_E_BUFFER ((int32_t)13)      /* the caller's buffer is too small; the count says what is needed */
#define PUNA_E_INTERNAL ((int32_t)99)    /* a defect in this library; please report */

PUNA_API const char* PUNA_CALL puna_status_name(int32_t status); /* "PUNA_E_FORMAT"; static; never NULL */

typedef struct puna_error {
  uint32_t struct_size;
  int32_t code;
  int32_t user_code;  /* what a callback returned */
  uint32_t reserved;
  char text[496];     /* UTF-8, NUL-terminated, cut on a character border; "" when there was no error */
} puna_error;
PUNA_API void PUNA_CALL puna_error_init(puna_error* error, size_t size);

/* ---- 2 generate ----------------------------------------------------------------------------------------------- */

typedef struct puna_runtime puna_runtime;
typedef struct puna_cancel puna_cancel;
typedef struct puna_job puna_job;
typedef struct puna_model puna_model;
typedef struct puna_listing puna_listing;
typedef struct puna_tokenizer puna_tokenizer;
typedef struct puna_detokenizer puna_detokenizer;
typedef struct puna_sampler puna_sampler;
typedef struct puna_session puna_session;
typedef struct puna_source puna_source;

typedef struct puna_progress {
  uint32_t struct_size;
  int32_t phase;       /* PUNA_PHASE_... */
  uint64_t done;       /* in the phase's unit: bytes when hashing, loading or writing, tokens else */
  uint64_t total;      /* 0: not known */
  double elapsed_ms;
} puna_progress;
#define PUNA_PHASE_HASH ((int32_t)1)
#define PUNA_PHASE_LOAD ((int32_t)2)
#define PUNA_PHASE_PROMPT ((int32_t)3)
#define PUNA_PHASE_DECODE ((int32_t)4)
#define PUNA_PHASE_EVALUATE ((int32_t)5)
/* Called between slices of work of some 20 ms, and at the end. */
typedef int32_t(PUNA_CALL* puna_progress_fn)(void* user, const puna_progress* progress);

typedef struct puna_model_options {
  uint32_t struct_size;
  uint32_t flags;                /* PUNA_MODEL_... */
  const puna_source* tokenizer;  /* where the vocabulary is when the model's file has none; NULL: with the model */
  puna_cancel* cancel;           /* NULL: none */
  puna_progress_fn progress;     /* NULL: none; called from the thread that steps the job */
  void* progress_user;
} puna_model_options;
#define PUNA_MODEL_COPY ((uint32_t)1)          /* copy the weights to memory instead of using them mapped */
#define PUNA_MODEL_NO_TOKENIZER ((uint32_t)2)  /* token ids only */
/* Quantized weights are used as they are stored, where the file is mapped: nothing is copied and loading takes no time, but
 * products are slower. Default: they are laid out anew for this machine's vectors while they load, without loss and in as
 * many bytes, and the mapped pages are given back. */
#define PUNA_MODEL_AS_STORED ((uint32_t)4)
/* Weights are locked in memory (mlock), so that nothing pages them out. PUNA_E_MEMORY names the system's limit if it refuses. */
#define PUNA_MODEL_LOCK ((uint32_t)8)
PUNA_API void PUNA_CALL puna_model_options_init(puna_model_options* options, size_t size);

/* Opens a GGUF file, a Hugging Face folder, a Meta folder or .pth, or a llama2.c .bin. runtime NULL: a private default. */
PUNA_API int32_t PUNA_CALL puna_model_open(puna_model** out, puna_runtime* runtime, const char* path,
                                           const puna_model_options* options, puna_error* error);
PUNA_API void PUNA_CALL puna_model_destroy(puna_model* model);

#define PUNA_CACHE_F16 ((int32_t)1)
#define PUNA_CACHE_F32 ((int32_t)0)
/* Blocks of 32 numbers with a scale. Where 32 does not divide the width of the model's heads, the cache is f16, the log says
 * so, and puna_session_get_info tells. */
#define PUNA_CACHE_Q8_0 ((int32_t)8)  /* half of f16's bytes */
#define PUNA_CACHE_Q4_0 ((int32_t)2)  /* 0.28 of them; costs some accuracy */
typedef struct puna_session_options {
  uint32_t struct_size;
  uint32_t context;        /* tokens a sequence may hold; 0: the model's */
  uint32_t sequences;      /* how many sequences, numbered from 0; default 1 */
  uint32_t cache_tokens;   /* tokens that all sequences hold together; 0: context x sequences */
  uint32_t batch;          /* tokens computed together at most; default 512 */
  uint32_t max_logits;     /* rows of logits kept per feed; 0: one per sequence */
  int32_t cache_type;      /* PUNA_CACHE_...; default f16 */
  int32_t threads;         /* 0: the runtime's */
  uint32_t speculate;      /* guesses that a generation may compute in one pass, at most 64; default 0: no speculation.
                              Takes speculate + 1 rows of logits and 12 bytes per token of the context (rounded up to a
                              power of two, at most 65536 tokens), now and in the forecast */
} puna_session_options;
PUNA_API void PUNA_CALL puna_session_options_init(puna_session_options* options, size_t size);

/* Mutable state on a shared model: a cache of sequences and a workspace, all allocated here and never later. */
PUNA_API int32_t PUNA_CALL puna_session_create(puna_session** out, const puna_model* model,
                                               const puna_session_options* options, puna_error* error);
PUNA_API void PUNA_CALL puna_session_destroy(puna_session* session);

typedef struct puna_token_logprob {
  int32_t id;
  float logprob;  /* natural log, of the model's own distribution, before any sampling step */
} puna_token_logprob;

typedef struct puna_token_event {
  uint32_t struct_size;
  int32_t id;
  const char* text;  /* whole characters that this token completed; may be empty; valid during the callback */
  size_t text_length;
  const puna_token_logprob* top;  /* the K likeliest, best first; valid during the callback */
  uint32_t top_count;
  float logprob;                  /* of the token drawn; 0 unless options.logprobs > 0 */
} puna_token_event;

typedef int32_t(PUNA_CALL* puna_text_fn)(void* user, const char* text, size_t length);
typedef int32_t(PUNA_CALL* puna_token_fn)(void* user, const puna_token_event* event);

/* A generation that ended with PUNA_STOP_LENGTH, or was cancelled, leaves the sequence whole: its last drawn token may not be
 * in the cache yet. To go on without new text, take the last id back with puna_session_truncate and give it as prompt_ids. */
typedef struct puna_generate_options {
  uint32_t struct_size;
  uint32_t flags;           /* PUNA_GENERATE_... */
  uint32_t max_tokens;      /* 0: until the context is full */
  uint32_t sequence;        /* which one to continue; default 0 */
  uint32_t logprobs;        /* K for puna_token_event.top; at most 64 */
  uint32_t stop_count;      /* all that pointers here lead to is copied by a call that makes a job */
  const char* const* stop;  /* NUL-terminated stop strings; the answer ends before the first that appears */
  puna_sampler* sampler;    /* NULL: greedy. Used, not owned: one generation at a time */
  const int32_t* prompt_ids;  /* exactly these tokens, nothing added; then text must be NULL */
  size_t prompt_id_count;
  puna_cancel* cancel;
  puna_progress_fn progress;
  void* progress_user;
  puna_token_fn on_token;   /* each drawn token, also those whose text is still incomplete */
  void* on_token_user;
  int32_t speculate;        /* PUNA_SPECULATE_...; the session must have been made with room for it */
  uint32_t draft_sequence;  /* of the draft session; what it holds is replaced, as far as it differs */
  puna_session* draft;      /* for PUNA_SPECULATE_DRAFT: a session on a small model with the same tokenizer. Used, not
                               owned: one generation at a time. Its context should be as long */
} puna_generate_options;
/* Speculation guesses tokens and computes several in one pass. It never changes what comes out: the sampler draws each
 * token as ever, from the same logits and with the same number of its stream, and a guess counts only if it is what was
 * drawn. So text, callbacks, log-probabilities and endings are those without it, greedy or sampled. How many tokens are
 * guessed is chosen by what was measured; where it does not pay it is off, and is tried again now and then. A draft
 * follows the sampler; where that has a callback (which it must not see), the draft guesses greedily. */
#define PUNA_SPECULATE_NONE ((int32_t)0)
#define PUNA_SPECULATE_SUFFIX ((int32_t)1)  /* what followed the same tokens before, in the sequence: no second model */
#define PUNA_SPECULATE_DRAFT ((int32_t)2)
#define PUNA_GENERATE_IGNORE_EOS ((uint32_t)1)
#define PUNA_GENERATE_NO_BOS ((uint32_t)2)         /* default: BOS when the sequence is empty and the model wants one */
#define PUNA_GENERATE_PARSE_SPECIAL ((uint32_t)4)  /* "<s>" and the like in the prompt become their tokens */
PUNA_API void PUNA_CALL puna_generate_options_init(puna_generate_options* options, size_t size);

#define PUNA_STOP_NONE ((int32_t)0)     /* not finished */
#define PUNA_STOP_EOS ((int32_t)1)     /* end of sequence, or a BOS, with which another text would begin */
#define PUNA_STOP_LENGTH ((int32_t)2)   /* max_tokens reached */
#define PUNA_STOP_CONTEXT ((int32_t)3)  /* the sequence is full */
#define PUNA_STOP_STRING ((int32_t)4)
typedef struct puna_generate_result {
  uint32_t struct_size;
  int32_t stop;           /* PUNA_STOP_... */
  uint32_t prompt_tokens;
  uint32_t tokens;        /* drawn; an end-of-sequence token that ended it is not counted */
  double prompt_ms;
  double decode_ms;
  uint32_t proposed;      /* guesses of speculation that were computed */
  uint32_t accepted;      /* those of them that were drawn */
} puna_generate_result;

/* Continues a sequence: the prompt's tokens are appended, then tokens are drawn; text arrives in whole characters.
 * on_text may be NULL. Errors: PUNA_E_ENCODING for text that is not UTF-8, PUNA_E_CONTEXT_FULL for a prompt too long
 * (the sequence is unchanged). After CANCELLED or CALLBACK the sequence holds what was computed. */
PUNA_API int32_t PUNA_CALL puna_session_generate(puna_session* session, const char* text, size_t length,
                                                 const puna_generate_options* options, puna_text_fn on_text, void* user,
                                                 puna_error* error);

/* ---- 3 host: memory, threads, time ------------------------------------------------------------------------------ */

/* Must return `bytes` bytes aligned to `alignment` (a power of two), or NULL. Called from any thread. */
typedef void*(PUNA_CALL* puna_allocate_fn)(void* user, size_t bytes, size_t alignment);
typedef void(PUNA_CALL* puna_release_fn)(void* user, void* memory, size_t bytes, size_t alignment);
#define PUNA_LOG_DEBUG ((int32_t)0)
#define PUNA_LOG_INFO ((int32_t)1)
#define PUNA_LOG_WARNING ((int32_t)2)
#define PUNA_LOG_ERROR ((int32_t)3)
typedef void(PUNA_CALL* puna_log_fn)(void* user, int32_t level, const char* text, size_t length);
/* Runs task(context, i) for every i in [0, count), on any threads, in any order, and returns when all have run.
 * Tasks never wait for each other, so a host with fewer workers than count is fine. */
typedef void(PUNA_CALL* puna_task_fn)(void* context, uint32_t index);
typedef void(PUNA_CALL* puna_parallel_for_fn)(void* user, uint32_t count, puna_task_fn task, void* context);

typedef struct puna_runtime_options {
  uint32_t struct_size;
  int32_t threads;            /* workers of the built-in pool, the caller included; 0: one per core that the process may
                                 use, by its affinity and its container's quota */
  uint64_t memory_limit;      /* bytes of weights, caches and workspaces; 0: none */
  uint32_t spin_us;           /* how long an idle worker spins before it sleeps; default 50 */
  uint32_t flags;             /* PUNA_RUNTIME_... */
  puna_allocate_fn allocate;  /* both or neither */
  puna_release_fn release;
  void* allocator_user;
  puna_log_fn log;            /* NULL: silence */
  void* log_user;
  puna_parallel_for_fn parallel_for;  /* the host's task system instead of the pool; `threads` is its width */
  void* tasks_user;
} puna_runtime_options;
/* The pool's threads each keep to a core of their own; the caller's thread stays as it is. Where the system has no such call
 * or refuses, they roam. */
#define PUNA_RUNTIME_PIN ((uint32_t)1)
PUNA_API void PUNA_CALL puna_runtime_options_init(puna_runtime_options* options, size_t size);
PUNA_API int32_t PUNA_CALL puna_runtime_create(puna_runtime** out, const puna_runtime_options* options, puna_error* error);
PUNA_API void PUNA_CALL puna_runtime_destroy(puna_runtime* runtime); /* threads end when its last child is gone */

typedef struct puna_runtime_info {
  uint32_t struct_size;
  int32_t threads;
  uint64_t memory_used;   /* bytes through the allocator now */
  uint64_t memory_peak;
  uint64_t memory_limit;
  char isa[32];           /* the kernels in use: "avx2" */
} puna_runtime_info;
PUNA_API int32_t PUNA_CALL puna_runtime_get_info(const puna_runtime* runtime, puna_runtime_info* out, size_t size,
                                                 puna_error* error);

/* A stop button for any thread: tripping is one lock-free atomic store, so a signal handler may do it. Jobs keep their own
 * reference. Once tripped it stays so: make a new one for the next work. */
PUNA_API int32_t PUNA_CALL puna_cancel_create(puna_cancel** out, puna_error* error);
PUNA_API void PUNA_CALL puna_cancel_trip(puna_cancel* cancel);
PUNA_API void PUNA_CALL puna_cancel_destroy(puna_cancel* cancel);

/* Long work in progress. Either step it yourself, or start it and poll or wait; not both. Each blocking call of this
 * header is its job, stepped to the end. Destroying an unfinished job cancels it. */
/* Works for about max_ms milliseconds (0: one tile; negative: to the end) and sets *done to 1 when finished. */
PUNA_API int32_t PUNA_CALL puna_job_step(puna_job* job, double max_ms, int32_t* done, puna_error* error);
/* Runs it on a thread of the runtime. Callbacks then come from that thread. */
PUNA_API int32_t PUNA_CALL puna_job_start(puna_job* job, puna_error* error);
/* Never blocks. *done 1 when finished, well or not; then the status is the work's own. So in step and wait. */
PUNA_API int32_t PUNA_CALL puna_job_poll(puna_job* job, int32_t* done, puna_error* error);
/* For a started job: waits up to max_ms (negative: for ever). */
PUNA_API int32_t PUNA_CALL puna_job_wait(puna_job* job, double max_ms, int32_t* done, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_job_progress(const puna_job* job, puna_progress* out, size_t size, puna_error* error);
PUNA_API void PUNA_CALL puna_job_cancel(puna_job* job); /* from any thread */
PUNA_API void PUNA_CALL puna_job_destroy(puna_job* job);
/* Results of a finished job. */
PUNA_API int32_t PUNA_CALL puna_job_model(puna_job* job, puna_model** out, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_job_generated(const puna_job* job, puna_generate_result* out, size_t size, puna_error* error);

PUNA_API int32_t PUNA_CALL puna_session_generate_job(puna_job** out, puna_session* session, const char* text, size_t length,
                                                     const puna_generate_options* options, puna_text_fn on_text, void* user,
                                                     puna_error* error);

/* ---- 4 models ---------------------------------------------------------------------------------------------------- */

#define PUNA_SOURCE_PATH ((int32_t)0)
#define PUNA_SOURCE_MEMORY ((int32_t)1)      /* data, size: borrowed until the model and its children are gone */
#define PUNA_SOURCE_DESCRIPTOR ((int32_t)2)  /* descriptor (duplicated), offset, size (0: to the end) */
#define PUNA_SOURCE_CALLBACK ((int32_t)3)    /* read, user, size; called while loading only */
#define PUNA_SOURCE_SYNTHETIC ((int32_t)4)   /* path is "SHAPE:TYPE", such as "7b:q4_0": random weights, for measuring */
/* Copies [offset, offset + n) to dst. */
typedef int32_t(PUNA_CALL* puna_read_fn)(void* user, uint64_t offset, void* dst, size_t n);
struct puna_source {
  uint32_t struct_size;
  int32_t kind;
  int32_t descriptor;
  uint32_t reserved;
  uint64_t offset;
  uint64_t size;
  const char* path;
  const void* data;
  puna_read_fn read;
  void* user;
  const char* sha256;  /* 64 hexadecimal digits that the file must have (a single file); NULL: not pinned */
};
PUNA_API void PUNA_CALL puna_source_init(puna_source* source, size_t size);

PUNA_API int32_t PUNA_CALL puna_model_open_source(puna_model** out, puna_runtime* runtime, const puna_source* source,
                                                  const puna_model_options* options, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_model_open_job(puna_job** out, puna_runtime* runtime, const puna_source* source,
                                               const puna_model_options* options, puna_error* error);

typedef struct puna_model_info {
  uint32_t struct_size;
  uint32_t dim;
  uint32_t ffn_dim;
  uint32_t layers;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t vocab;
  uint32_t context;        /* trained length, scaling included */
  uint32_t tied;           /* 1: the head is the embedding */
  uint64_t parameters;
  uint64_t weight_bytes;   /* of the tensors, as stored */
  double norm_epsilon;
  double rope_theta;
  /* Of a model that is open; what a token costs is 2 operations per weight of the layers, and of the head where its logits
   * are wanted. */
  uint64_t decode_bytes;   /* of the weights that every decoded token reads */
  uint64_t layer_weights;
  uint64_t head_weights;
} puna_model_info;
PUNA_API int32_t PUNA_CALL puna_model_get_info(const puna_model* model, puna_model_info* out, size_t size, puna_error* error);

/* Key and value texts of the file, NUL-terminated, borrowed from the model. NULL past the end, or for an unknown key. */
PUNA_API size_t PUNA_CALL puna_model_metadata_count(const puna_model* model);
PUNA_API const char* PUNA_CALL puna_model_metadata_key(const puna_model* model, size_t index);
PUNA_API const char* PUNA_CALL puna_model_metadata_value(const puna_model* model, size_t index);
PUNA_API const char* PUNA_CALL puna_model_metadata_find(const puna_model* model, const char* key);

/* A forecast from the header alone: nothing large is allocated or read of the model. The times are estimates from a short
 * measurement of this machine with one thread per core (a tenth of a second and 64 MB for a while), made only for callers
 * that know the fields; 0: not known. */
typedef struct puna_plan {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t memory_bytes;     /* all of the below */
  uint64_t weight_bytes;     /* mapped or copied */
  uint64_t copied_bytes;     /* the part of the weights that must be copied through the allocator */
  uint64_t cache_bytes;
  uint64_t workspace_bytes;
  uint64_t disk_bytes;
  double load_ms;                   /* of a file that is in the system's cache */
  double prompt_tokens_per_second;
  double decode_tokens_per_second;  /* one token after the other, a short text */
} puna_plan;
PUNA_API int32_t PUNA_CALL puna_plan_generate(const puna_source* source, const puna_model_options* model_options,
                                              const puna_session_options* session_options, puna_plan* out, size_t size,
                                              puna_error* error);

/* What this machine reaches at this moment with the runtime's threads, in loops that do nothing else: the limits of decoding
 * and of prompts. Others on the machine take their share, so hold work only against figures of the same second. */
typedef struct puna_machine_speed {
  uint32_t struct_size;
  int32_t threads;
  double read_bytes;          /* a second */
  double int8_operations;     /* a second, a multiply-add being two, by the kernels' own instruction; 0: they have none */
  double fp32_operations;
  char int8_instruction[32];
  char fp32_instruction[32];
} puna_machine_speed;
#define PUNA_PROBE_READ 1u
#define PUNA_PROBE_INT8 2u
#define PUNA_PROBE_FP32 4u
/* About max_ms for each of `figures` (their sum; 0: all); the others are 0. With a model: its runtime, reading the weights
 * that a decoded token reads, in order (runtime is then NULL); else a buffer of 64 MB. */
PUNA_API int32_t PUNA_CALL puna_machine_probe(puna_runtime* runtime, const puna_model* model, uint32_t figures, double max_ms,
                                              puna_machine_speed* out, size_t size, puna_error* error);

/* What a file holds, by its header: any GGUF, safetensors or torch file, of known architecture or not. */
typedef struct puna_tensor_info {
  uint32_t struct_size;
  uint32_t rank;
  uint64_t bytes;
  const char* name;  /* borrowed from the listing, NUL-terminated, as is type */
  const char* type;
  const uint64_t* shape;  /* outermost first */
} puna_tensor_info;
PUNA_API int32_t PUNA_CALL puna_listing_open(puna_listing** out, const puna_source* source, puna_error* error);
PUNA_API const char* PUNA_CALL puna_listing_format(const puna_listing* listing);
PUNA_API size_t PUNA_CALL puna_listing_metadata_count(const puna_listing* listing);
PUNA_API const char* PUNA_CALL puna_listing_metadata_key(const puna_listing* listing, size_t index);
PUNA_API const char* PUNA_CALL puna_listing_metadata_value(const puna_listing* listing, size_t index);
PUNA_API size_t PUNA_CALL puna_listing_tensor_count(const puna_listing* listing);
PUNA_API int32_t PUNA_CALL puna_listing_tensor(const puna_listing* listing, size_t index, puna_tensor_info* out, size_t size,
                                               puna_error* error);
/* Of a Llama that this library could load; else PUNA_E_UNSUPPORTED. */
PUNA_API int32_t PUNA_CALL puna_listing_model_info(const puna_listing* listing, puna_model_info* out, size_t size,
                                                   puna_error* error);
PUNA_API void PUNA_CALL puna_listing_destroy(puna_listing* listing);

/* ---- 5 text ------------------------------------------------------------------------------------------------------- */

/* Of a model: borrowed, NULL when it has none. Alone: from a tokenizer.model, tokenizer.json, or any model. */
PUNA_API const puna_tokenizer* PUNA_CALL puna_model_tokenizer(const puna_model* model);
PUNA_API int32_t PUNA_CALL puna_tokenizer_open(puna_tokenizer** out, const puna_source* source, puna_error* error);
PUNA_API void PUNA_CALL puna_tokenizer_destroy(puna_tokenizer* tokenizer); /* only of one that was opened */

typedef struct puna_encode_options {
  uint32_t struct_size;
  int32_t bos;            /* 1 add, 0 do not, -1 as the model wants (the default) */
  int32_t eos;            /* the same; default 0 */
  int32_t space_prefix;   /* sentencepiece's dummy prefix: 1, 0, -1 as the model wants */
  int32_t parse_special;  /* 1: "<s>" and the like become their tokens; default 0: they are text */
  uint32_t reserved;
} puna_encode_options;
PUNA_API void PUNA_CALL puna_encode_options_init(puna_encode_options* options, size_t size);
/* Writes at most capacity ids; *count is what was needed. PUNA_E_BUFFER when that is more (ids is then untouched). */
PUNA_API int32_t PUNA_CALL puna_tokenizer_encode(const puna_tokenizer* tokenizer, const char* text, size_t length,
                                                 const puna_encode_options* options, int32_t* ids, size_t capacity,
                                                 size_t* count, puna_error* error);
/* Code Llama: the prompt that asks for the text between prefix and suffix. spm 1: suffix first. */
PUNA_API int32_t PUNA_CALL puna_tokenizer_encode_infill(const puna_tokenizer* tokenizer, const char* prefix,
                                                        size_t prefix_length, const char* suffix, size_t suffix_length,
                                                        int32_t spm, int32_t* ids, size_t capacity, size_t* count,
                                                        puna_error* error);
/* Text of ids, UTF-8, not terminated; the same rule for capacity. */
PUNA_API int32_t PUNA_CALL puna_tokenizer_decode(const puna_tokenizer* tokenizer, const int32_t* ids, size_t id_count,
                                                 char* text, size_t capacity, size_t* length, puna_error* error);

#define PUNA_TOKEN_NORMAL ((uint32_t)1)
#define PUNA_TOKEN_UNKNOWN ((uint32_t)2)
#define PUNA_TOKEN_CONTROL ((uint32_t)4)
#define PUNA_TOKEN_USER_DEFINED ((uint32_t)8)
#define PUNA_TOKEN_UNUSED ((uint32_t)16)
#define PUNA_TOKEN_BYTE ((uint32_t)32)
typedef struct puna_token_info {
  uint32_t struct_size;
  uint32_t attributes;  /* PUNA_TOKEN_... */
  const char* piece;    /* as the vocabulary stores it; borrowed from the tokenizer */
  size_t piece_length;
  float score;
  uint32_t reserved;
} puna_token_info;
PUNA_API int32_t PUNA_CALL puna_tokenizer_token(const puna_tokenizer* tokenizer, int32_t id, puna_token_info* out, size_t size,
                                                puna_error* error);
PUNA_API uint32_t PUNA_CALL puna_tokenizer_size(const puna_tokenizer* tokenizer);
#define PUNA_SPECIAL_BOS ((int32_t)0)
#define PUNA_SPECIAL_EOS ((int32_t)1)
#define PUNA_SPECIAL_UNKNOWN ((int32_t)2)
#define PUNA_SPECIAL_PAD ((int32_t)3)
#define PUNA_SPECIAL_PREFIX ((int32_t)4)  /* infill */
#define PUNA_SPECIAL_SUFFIX ((int32_t)5)
#define PUNA_SPECIAL_MIDDLE ((int32_t)6)
#define PUNA_SPECIAL_EOT ((int32_t)7)
PUNA_API int32_t PUNA_CALL puna_tokenizer_special(const puna_tokenizer* tokenizer, int32_t which); /* -1: none */

/* Ids to text as they come: whole UTF-8 characters only. The text is borrowed until the next call on the handle. */
PUNA_API int32_t PUNA_CALL puna_detokenizer_create(puna_detokenizer** out, const puna_tokenizer* tokenizer, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_detokenizer_feed(puna_detokenizer* detokenizer, int32_t id, const char** text, size_t* length,
                                                 puna_error* error);
PUNA_API int32_t PUNA_CALL puna_detokenizer_flush(puna_detokenizer* detokenizer, const char** text, size_t* length,
                                                  puna_error* error);
PUNA_API void PUNA_CALL puna_detokenizer_destroy(puna_detokenizer* detokenizer);

/* ---- 6 sampling ---------------------------------------------------------------------------------------------------- */

/* A chain of steps, applied in the order added; then one draw (or the argmax after add_greedy). The same logits and seed
 * give the same choice on every platform. */
PUNA_API int32_t PUNA_CALL puna_sampler_create(puna_sampler** out, uint64_t seed, puna_error* error);
PUNA_API void PUNA_CALL puna_sampler_destroy(puna_sampler* sampler);
PUNA_API int32_t PUNA_CALL puna_sampler_add_greedy(puna_sampler* sampler, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_temperature(puna_sampler* sampler, double temperature, puna_error* error); /* 0: argmax */
PUNA_API int32_t PUNA_CALL puna_sampler_add_top_k(puna_sampler* sampler, uint32_t k, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_top_p(puna_sampler* sampler, double p, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_min_p(puna_sampler* sampler, double p, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_typical(puna_sampler* sampler, double p, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_mirostat(puna_sampler* sampler, double tau, double eta, puna_error* error); /* version 2 */
/* Over the last `window` tokens, prompt included; repeat 1, frequency 0 and presence 0 are off. */
PUNA_API int32_t PUNA_CALL puna_sampler_add_penalties(puna_sampler* sampler, uint32_t window, double repeat, double frequency,
                                                      double presence, puna_error* error);
/* breakers: ids after which no repetition is counted. */
PUNA_API int32_t PUNA_CALL puna_sampler_add_dry(puna_sampler* sampler, double multiplier, double base, uint32_t allowed_length,
                                                uint32_t window, const int32_t* breakers, size_t breaker_count,
                                                puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_add_logit_bias(puna_sampler* sampler, const int32_t* ids, const float* biases, size_t count,
                                                       puna_error* error);
/* The host changes logits [n] in place; history holds the tokens accepted so far, oldest first. */
typedef int32_t(PUNA_CALL* puna_logits_fn)(void* user, float* logits, size_t n, const int32_t* history, size_t history_count);
PUNA_API int32_t PUNA_CALL puna_sampler_add_callback(puna_sampler* sampler, puna_logits_fn callback, void* user, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_sample(puna_sampler* sampler, const float* logits, size_t n, int32_t* id, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_accept(puna_sampler* sampler, int32_t id, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_sampler_reset(puna_sampler* sampler, uint64_t seed, puna_error* error);

/* ---- 7 tokens ------------------------------------------------------------------------------------------------------ */

/* Tokens, or rows of embeddings, appended to sequences of the session. Position p of a sequence must be its length. */
typedef struct puna_batch {
  uint32_t struct_size;
  uint32_t count;
  const int32_t* ids;          /* [count]; NULL when embeddings are given */
  const float* embeddings;     /* [count][dim] */
  const uint32_t* sequences;   /* [count]; NULL: all 0 */
  const uint32_t* positions;   /* [count]; NULL: each sequence goes on where it stands */
  const uint8_t* want_logits;  /* [count]; NULL: the last token of each sequence in the batch */
} puna_batch;
PUNA_API void PUNA_CALL puna_batch_init(puna_batch* batch, size_t size);
/* count may be larger than options.batch: it is cut into passes, with the same bits. All or nothing on an argument error;
 * a cancelled feed leaves each sequence at a length that puna_session_length tells. */
PUNA_API int32_t PUNA_CALL puna_session_feed(puna_session* session, const puna_batch* batch, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_session_feed_job(puna_job** out, puna_session* session, const puna_batch* batch, puna_cancel* cancel,
                                                 puna_error* error);
/* Logits float[vocab] of the batch's token `index`; borrowed until the next feed or generate. */
PUNA_API int32_t PUNA_CALL puna_session_logits(const puna_session* session, uint32_t index, const float** logits, size_t* count,
                                               puna_error* error);
PUNA_API int32_t PUNA_CALL puna_session_length(const puna_session* session, uint32_t sequence, uint32_t* length, puna_error* error);
/* The tokens that a sequence holds (-1 where an embedding was fed). */
PUNA_API int32_t PUNA_CALL puna_session_tokens(const puna_session* session, uint32_t sequence, int32_t* ids, size_t capacity,
                                               size_t* count, puna_error* error);
/* `to` becomes a copy of `from`; pages are shared until one of them writes. */
PUNA_API int32_t PUNA_CALL puna_session_fork(puna_session* session, uint32_t from, uint32_t to, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_session_truncate(puna_session* session, uint32_t sequence, uint32_t length, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_session_drop(puna_session* session, uint32_t sequence, puna_error* error);

/* What a session was made with, every 0 settled. */
typedef struct puna_session_info {
  uint32_t struct_size;
  uint32_t context;
  uint32_t sequences;
  uint32_t batch;
  uint64_t cache_tokens;
  uint64_t cache_bytes;
  uint32_t max_logits;
  int32_t cache_type;  /* that was taken */
  int32_t threads;
  int32_t reserved;
} puna_session_info;
PUNA_API int32_t PUNA_CALL puna_session_get_info(const puna_session* session, puna_session_info* out, size_t size,
                                                 puna_error* error);

/* ---- 8 measures ---------------------------------------------------------------------------------------------------- */

#define PUNA_PERPLEXITY_HALF ((int32_t)0)       /* llama.cpp's: chunks of context tokens, BOS first, second half scored */
#define PUNA_PERPLEXITY_WINDOWS ((int32_t)1)    /* chunks of context tokens, every token but the first scored */
#define PUNA_PERPLEXITY_DOCUMENTS ((int32_t)2)  /* each text by itself: BOS first, cut to context tokens, all scored */
typedef struct puna_perplexity_options {
  uint32_t struct_size;
  int32_t protocol;
  uint32_t context;   /* tokens; default 512 */
  int32_t threads;    /* 0: the runtime's */
  puna_cancel* cancel;
  puna_progress_fn progress;
  void* progress_user;
} puna_perplexity_options;
typedef struct puna_perplexity {
  uint32_t struct_size;
  uint32_t reserved;
  double nll;       /* mean natural-log loss per scored token */
  double ppl;       /* exp(nll) */
  uint64_t tokens;  /* scored */
} puna_perplexity;
PUNA_API void PUNA_CALL puna_perplexity_options_init(puna_perplexity_options* options, size_t size);
/* texts: `count` texts with their lengths; the first two protocols take one. */
PUNA_API int32_t PUNA_CALL puna_eval_perplexity(const puna_model* model, const char* const* texts, const size_t* lengths,
                                                size_t count, const puna_perplexity_options* options, puna_perplexity* out,
                                                size_t size, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_eval_perplexity_job(puna_job** out, const puna_model* model, const char* const* texts,
                                                    const size_t* lengths, size_t count, const puna_perplexity_options* options,
                                                    puna_error* error);
PUNA_API int32_t PUNA_CALL puna_job_perplexity(const puna_job* job, puna_perplexity* out, size_t size, puna_error* error);

/* ---- 9 slimming ----------------------------------------------------------------------------------------------------- */

#define PUNA_PHASE_WRITE ((int32_t)6)      /* progress in bytes of output */
#define PUNA_PHASE_CALIBRATE ((int32_t)7)  /* progress in tokens */

#define PUNA_FORMAT_AUTO ((int32_t)0)         /* a name that ends in .gguf: GGUF, else a Hugging Face folder */
#define PUNA_FORMAT_GGUF ((int32_t)1)
#define PUNA_FORMAT_SAFETENSORS ((int32_t)2)
typedef struct puna_quantize_options {
  uint32_t struct_size;
  uint32_t flags;                 /* PUNA_QUANTIZE_... */
  int32_t format;                 /* PUNA_FORMAT_... */
  int32_t threads;                /* 0: the runtime's */
  const char* type;               /* "q4_k_m", "q8_0", "f16" and the like; NULL: each tensor keeps its own */
  const puna_source* imatrix;     /* NULL: none */
  const char* const* overrides;   /* "PATTERN=TYPE" on GGUF tensor names, '*' for anything; later ones win */
  size_t override_count;
  uint64_t shard_bytes;           /* safetensors: the largest shard; 0: 5 GB */
  puna_cancel* cancel;
  puna_progress_fn progress;
  void* progress_user;
} puna_quantize_options;
#define PUNA_QUANTIZE_PURE ((uint32_t)1)        /* the type everywhere, no mix */
#define PUNA_QUANTIZE_REQUANTIZE ((uint32_t)2)  /* allow block types as the source: quality is lost twice */
/* A GGUF whose quantized matrices lie as this machine's kernels want them: mapped and used at once, no byte larger. Only
 * this library reads it, on machines whose kernels take the same number of rows; others refuse it, naming both. */
#define PUNA_QUANTIZE_PACK ((uint32_t)4)
PUNA_API void PUNA_CALL puna_quantize_options_init(puna_quantize_options* options, size_t size);

typedef struct puna_quantize_result {
  uint32_t struct_size;
  uint32_t tensors;
  uint64_t bytes;           /* of the output */
  double bits_per_weight;
} puna_quantize_result;

/* Writes a model in other types or another container. The output is whole under its name or not there at all; memory stays
 * at a few rows per worker. runtime NULL: a private default. out_path: UTF-8. */
PUNA_API int32_t PUNA_CALL puna_quantize(puna_runtime* runtime, const puna_source* source, const char* out_path,
                                         const puna_quantize_options* options, puna_quantize_result* out, size_t size,
                                         puna_error* error);
PUNA_API int32_t PUNA_CALL puna_quantize_job(puna_job** out, puna_runtime* runtime, const puna_source* source,
                                             const char* out_path, const puna_quantize_options* options, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_job_quantized(const puna_job* job, puna_quantize_result* out, size_t size, puna_error* error);
/* What puna_quantize would write, from the header alone: disk_bytes of output; memory_bytes while it works. */
PUNA_API int32_t PUNA_CALL puna_plan_quantize(const puna_source* source, const puna_quantize_options* options, puna_plan* out,
                                              size_t size, puna_error* error);

typedef struct puna_calibrate_options {
  uint32_t struct_size;
  uint32_t context;    /* tokens a chunk; default 512 */
  uint32_t chunks;     /* 0: all whole chunks of the text */
  int32_t threads;
  puna_cancel* cancel;
  puna_progress_fn progress;
  void* progress_user;
} puna_calibrate_options;
PUNA_API void PUNA_CALL puna_calibrate_options_init(puna_calibrate_options* options, size_t size);
/* An importance matrix from a text, written in llama.cpp's .gguf form, or its .dat form by the name's ending. */
PUNA_API int32_t PUNA_CALL puna_calibrate(const puna_model* model, const char* text, size_t length, const char* out_path,
                                          const puna_calibrate_options* options, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_calibrate_job(puna_job** out, const puna_model* model, const char* text, size_t length,
                                              const char* out_path, const puna_calibrate_options* options, puna_error* error);

/* ---- 10 data ------------------------------------------------------------------------------------------------------ */

/* Chat templates are data, never executed. Wherever a template is asked for: NULL is the one that the model's file has,
 * a name is one of these, and a text that begins with '{' describes one:
 *   {"user": "Q: {content}\n", "assistant": "A: {content}{eos}\n", "system": "{content}\n"}
 * with {bos} and {eos} for the tokens, and optionally "generation" (what asks for the answer), "default_system", "tags"
 * (a list: what may not stand in a message), "strip". */
PUNA_API const char* PUNA_CALL puna_chat_template_name(size_t index); /* static; NULL past the end */
/* The name of a template text (of tokenizer.chat_template, or tokenizer_config.json), told by what it prints; static.
 * PUNA_E_UNSUPPORTED, with the names, for one that is not known. */
PUNA_API int32_t PUNA_CALL puna_chat_template_recognise(const char* text, size_t length, const char** name, puna_error* error);

#define PUNA_ROLE_SYSTEM ((int32_t)0)
#define PUNA_ROLE_USER ((int32_t)1)
#define PUNA_ROLE_ASSISTANT ((int32_t)2)
#define PUNA_MESSAGE_NO_LOSS ((uint32_t)1) /* an answer that is not to be learnt */
typedef struct puna_message {              /* stands in arrays, so it never grows */
  int32_t role;
  uint32_t flags;
  const char* text;
  size_t length;
} puna_message;

/* What is done with a template's tags, or a control token's spelling, inside a text. */
#define PUNA_TAGS_REFUSE ((int32_t)0)     /* an error that names the tag */
#define PUNA_TAGS_NEUTRALISE ((int32_t)1) /* a space is set into it, so that it is text like any other */
#define PUNA_TAGS_KEEP ((int32_t)2)       /* spelt out as it stands; it still never becomes a control token */
typedef struct puna_chat_options {
  uint32_t struct_size;
  int32_t tags;    /* PUNA_TAGS_... */
  int32_t whole;   /* 0 (the default): a prompt, asking for an answer. 1: a conversation, ending with an answer */
  uint32_t reserved;
} puna_chat_options;
PUNA_API void PUNA_CALL puna_chat_options_init(puna_chat_options* options, size_t size);
/* Ids of a conversation, BOS and all. loss (may be NULL) gets as many bytes: 1 where a token is part of an answer, or ends it.
 * The rules of puna_tokenizer_encode for capacity and count. PUNA_E_ARGUMENT for roles out of order or a special tag. */
PUNA_API int32_t PUNA_CALL puna_chat_render(const puna_tokenizer* tokenizer, const char* chat_template,
                                            const puna_message* messages, size_t message_count,
                                            const puna_chat_options* options, int32_t* ids, uint8_t* loss, size_t capacity,
                                            size_t* count, puna_error* error);

#define PUNA_DATA_AUTO ((int32_t)0) /* of either: recognised */
#define PUNA_DATA_JSONL ((int32_t)1)
#define PUNA_DATA_JSON ((int32_t)2) /* a list */
#define PUNA_DATA_CSV ((int32_t)3)
#define PUNA_DATA_TEXT ((int32_t)4)
#define PUNA_ROWS_MESSAGES ((int32_t)1)   /* {"messages": [{"role", "content"}]} */
#define PUNA_ROWS_SHAREGPT ((int32_t)2)   /* {"conversations": [{"from", "value"}]} */
#define PUNA_ROWS_ALPACA ((int32_t)3)     /* {"instruction", "input", "output"} */
#define PUNA_ROWS_PROMPT ((int32_t)4)     /* {"prompt", "completion"} */
#define PUNA_ROWS_PREFERENCE ((int32_t)5) /* {"prompt", "chosen", "rejected"} */
#define PUNA_ROWS_TEXT ((int32_t)6)       /* {"text"} */
#define PUNA_TOO_LONG_CUT ((int32_t)0)
#define PUNA_TOO_LONG_DROP ((int32_t)1)
#define PUNA_TOO_LONG_REFUSE ((int32_t)2)
#define PUNA_DATA_DROP_DUPLICATES ((uint32_t)1)
#define PUNA_DATA_LEARN_PROMPTS ((uint32_t)2)    /* loss on all but the first token of a row */
#define PUNA_DATA_CHAT_PROMPTS ((uint32_t)4)     /* prompt and completion are said as user and assistant, in the template */
typedef struct puna_data_options {
  uint32_t struct_size;
  uint32_t flags;             /* PUNA_DATA_... */
  int32_t format;             /* PUNA_DATA_JSONL and the like */
  int32_t rows;               /* PUNA_ROWS_... */
  int32_t tags;               /* PUNA_TAGS_... */
  int32_t too_long;           /* PUNA_TOO_LONG_... */
  uint32_t length;            /* tokens that a row may have; 0: any number */
  uint32_t reserved;
  uint64_t sample;            /* the row to keep for puna_data_sample, from 1; default 1 */
  const char* chat_template;  /* as above */
} puna_data_options;
PUNA_API void PUNA_CALL puna_data_options_init(puna_data_options* options, size_t size);

/* The doctor: reads a file of training data from end to end, row by row, and keeps what it found. */
typedef struct puna_data puna_data;
/* The file's rows may be wrong in any way: that is no error of this call, but a finding. */
PUNA_API int32_t PUNA_CALL puna_data_open(puna_data** out, const puna_tokenizer* tokenizer, const puna_source* source,
                                          const puna_data_options* options, puna_error* error);
PUNA_API void PUNA_CALL puna_data_destroy(puna_data* data);
typedef struct puna_data_info {
  uint32_t struct_size;
  int32_t format;             /* as recognised */
  int32_t rows_kind;          /* PUNA_ROWS_... */
  uint32_t reserved;
  uint64_t rows;              /* that a trainer would get */
  uint64_t tokens;
  uint64_t loss_tokens;
  uint64_t longest;
  uint64_t neutralised;       /* tags */
  uint64_t refused;           /* rows that a trainer would not take: it would stop at the first */
  uint64_t warnings;
  const char* chat_template;  /* the name in use, borrowed; "" for none */
} puna_data_info;
PUNA_API int32_t PUNA_CALL puna_data_get_info(const puna_data* data, puna_data_info* out, size_t size, puna_error* error);

#define PUNA_FAULT_BROKEN ((int32_t)0)
#define PUNA_FAULT_EMPTY_FILE ((int32_t)1)
#define PUNA_FAULT_ENCODING ((int32_t)2)
#define PUNA_FAULT_SHAPE ((int32_t)3)
#define PUNA_FAULT_ROLES ((int32_t)4)
#define PUNA_FAULT_EMPTY_ANSWER ((int32_t)5)
#define PUNA_FAULT_ALL_MASKED ((int32_t)6)
#define PUNA_FAULT_SPECIAL_TAG ((int32_t)7)
#define PUNA_FAULT_DUPLICATE ((int32_t)8) /* a warning */
#define PUNA_FAULT_TOO_LONG ((int32_t)9)  /* a warning, unless it is to be refused */
PUNA_API const char* PUNA_CALL puna_data_fault_name(int32_t fault); /* "empty_answer"; static; NULL: no such fault */
PUNA_API uint64_t PUNA_CALL puna_data_fault_count(const puna_data* data, int32_t fault);
typedef struct puna_data_finding {
  uint32_t struct_size;
  int32_t fault;
  uint64_t line;     /* of the file, from 1; 0: the whole file */
  const char* text;  /* borrowed, NUL-terminated */
} puna_data_finding;
/* In the order of the file; at most the first 1000 are kept, the counts have them all. */
PUNA_API size_t PUNA_CALL puna_data_finding_count(const puna_data* data);
PUNA_API int32_t PUNA_CALL puna_data_get_finding(const puna_data* data, size_t index, puna_data_finding* out, size_t size,
                                                 puna_error* error);
typedef struct puna_data_row {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t line;        /* 0: the file has no such row */
  size_t count;
  const int32_t* ids;   /* borrowed, as is loss: 1 where a token is learnt */
  const uint8_t* loss;
} puna_data_row;
/* The row that was asked for; rejected 1: the other answer of a preference (count 0: none). */
PUNA_API int32_t PUNA_CALL puna_data_sample(const puna_data* data, int32_t rejected, puna_data_row* out, size_t size,
                                            puna_error* error);

/* ---- 11 training -------------------------------------------------------------------------------------------------- */

#define PUNA_PHASE_TRAIN ((int32_t)8) /* progress in tokens, a learnt one counted three times */

typedef struct puna_trainer puna_trainer;

#define PUNA_TRAIN_LORA ((int32_t)0)
#define PUNA_TRAIN_FULL ((int32_t)1) /* every weight, in f32 */
#define PUNA_OBJECTIVE_AUTO ((int32_t)0)   /* by the rows: pairs of answers are preferences, others tokens */
#define PUNA_OBJECTIVE_TOKENS ((int32_t)1) /* of pairs: the chosen answers */
#define PUNA_OBJECTIVE_DPO ((int32_t)2)    /* pairs; LoRA: the reference is the model without its adapter */
#define PUNA_SCHEDULE_CONSTANT ((int32_t)0)
#define PUNA_SCHEDULE_LINEAR ((int32_t)1)
#define PUNA_SCHEDULE_COSINE ((int32_t)2)
#define PUNA_TARGET_Q ((uint32_t)1)
#define PUNA_TARGET_K ((uint32_t)2)
#define PUNA_TARGET_V ((uint32_t)4)
#define PUNA_TARGET_O ((uint32_t)8)
#define PUNA_TARGET_GATE ((uint32_t)16)
#define PUNA_TARGET_UP ((uint32_t)32)
#define PUNA_TARGET_DOWN ((uint32_t)64)
#define PUNA_TARGET_HEAD ((uint32_t)128)
#define PUNA_TARGET_PROJECTIONS ((uint32_t)127) /* the seven of a layer */

typedef struct puna_train_event {
  uint32_t struct_size;
  int32_t kind;             /* PUNA_TRAIN_EVENT_... */
  uint64_t step, steps;     /* taken, and of the run */
  double epoch;
  double loss;              /* mean over the tokens that are learnt, natural log; of preferences over the pairs */
  double learning_rate;
  double gradient_norm;     /* before clipping */
  uint64_t tokens;          /* of this step */
  double tokens_per_second;
  double seconds_left;
  /* Of preferences, else NaN: in how many of the pairs (0 to 1) the chosen answer has gained more than the rejected one since the run
   * began, and beta times by how much, on average. */
  double accuracy, margin;
  uint64_t memory_bytes;    /* of the runtime, now */
} puna_train_event;
#define PUNA_TRAIN_EVENT_STEP ((int32_t)0)
#define PUNA_TRAIN_EVENT_HELD_OUT ((int32_t)1) /* loss of the held-out rows */
#define PUNA_TRAIN_EVENT_GENERAL ((int32_t)2)  /* of the general rows */
/* Non-zero stops the training with PUNA_E_CALLBACK; the step has been taken. */
typedef int32_t (PUNA_CALL* puna_train_fn)(void* user, const puna_train_event* event);

typedef struct puna_train_options {
  uint32_t struct_size;
  int32_t method;            /* PUNA_TRAIN_... */
  uint32_t targets;          /* LoRA: PUNA_TARGET_...; default all projections */
  uint32_t rank;             /* LoRA: default 8 */
  double alpha;              /* LoRA: default 16 */
  double dropout;            /* LoRA: default 0 */
  double learning_rate;      /* 0: 2e-4 for LoRA, 2e-5 for full, 1e-3 from scratch, 5e-6 for DPO */
  double final_rate;         /* where linear and cosine end, as a part of learning_rate; default 0 */
  double weight_decay;       /* default 0.01; never of norms */
  double beta1, beta2, epsilon; /* AdamW; default 0.9, 0.999, 1e-8 */
  double clip;               /* norm of the gradient; default 1, 0: none */
  double beta;               /* DPO: how closely the reference is kept; default 0.1 */
  int32_t schedule;          /* default PUNA_SCHEDULE_COSINE */
  uint32_t warmup;           /* steps */
  uint32_t epochs;           /* default 1 */
  uint32_t steps;            /* 0: as the epochs say */
  uint32_t batch;            /* rows of a pass; default 1 */
  uint32_t accumulate;       /* passes of a step; default 1 */
  uint32_t length;           /* tokens of a row; default 512, or the model's context where that is shorter */
  uint32_t evaluate_every;   /* steps between measurements of held-out rows; 0: before and after */
  uint64_t seed;
  uint32_t flags;            /* PUNA_TRAIN_NO_... */
  int32_t threads;           /* 0: the runtime's */
  uint32_t held_out_permille; /* so many of 1000 rows, the last ones, are only measured; default 0 */
  uint32_t patience;         /* measurements without a better held-out loss that end the run; its weights are then, and at the end, the
                                best measured. 0: the run goes to its end, its weights are the last */
  const char* checkpoint;    /* a file that is replaced as a whole every so many steps; NULL: none */
  uint32_t checkpoint_every; /* steps; 0: at the end alone */
  int32_t objective;         /* PUNA_OBJECTIVE_... */
  puna_train_fn event;       /* after every step */
  void* event_user;
  const void* reserved;      /* NULL */
} puna_train_options;
#define PUNA_TRAIN_NO_PACKING ((uint32_t)1)      /* one text a row; else texts share rows, blind to each other */
#define PUNA_TRAIN_NO_SHUFFLE ((uint32_t)2)
#define PUNA_TRAIN_RANK_STABILIZED ((uint32_t)4) /* LoRA: alpha / sqrt(rank) */
#define PUNA_TRAIN_NF4 ((uint32_t)64)            /* LoRA: on the layers' weights as NF4, 4.127 bits each, made when the run is made */
#define PUNA_TRAIN_FROM_SCRATCH ((uint32_t)8)    /* full: the model gives its shape and its words, its weights begin at random */
#define PUNA_TRAIN_DORA ((uint32_t)16)           /* LoRA: a trained magnitude for each row, too */
#define PUNA_TRAIN_ADAM8 ((uint32_t)32)          /* AdamW keeps its moments in 8 bits a value, blocks of 256 */
PUNA_API void PUNA_CALL puna_train_options_init(puna_train_options* options, size_t size);

/* A run is made, given its rows, and then trained: by puna_trainer_run, or by a job in steps of an app's own length. */
PUNA_API int32_t PUNA_CALL puna_trainer_create(puna_trainer** out, const puna_model* model, const puna_train_options* options,
                                               puna_error* error);
PUNA_API void PUNA_CALL puna_trainer_destroy(puna_trainer* trainer);
/* A row. loss: for each id, whether predicting it is learnt; NULL: all but the first. held_out: 1 for a row that is only measured,
 * 2 for one of a general kind, measured before and after alone: what the training makes the model forget. */
PUNA_API int32_t PUNA_CALL puna_trainer_add(puna_trainer* trainer, int32_t held_out, const int32_t* ids, const uint8_t* loss,
                                            size_t count, puna_error* error);
/* A preference: a chosen and a rejected row, prompt and answer each, of which the prompts' tokens are not learnt. */
PUNA_API int32_t PUNA_CALL puna_trainer_add_pair(puna_trainer* trainer, int32_t held_out, const int32_t* chosen, const uint8_t* chosen_loss,
                                                 size_t chosen_count, const int32_t* rejected, const uint8_t* rejected_loss,
                                                 size_t rejected_count, puna_error* error);
/* A text: BOS, its tokens, EOS, cut into rows of options.length. */
PUNA_API int32_t PUNA_CALL puna_trainer_add_text(puna_trainer* trainer, int32_t held_out, const char* text, size_t length,
                                                 puna_error* error);

/* The rows of a file: JSON lines, JSON, CSV or plain text, of chats, prompts and answers, preferences or texts, recognised by
 * themselves. Rows that are too long are cut; a row that is broken or teaches nothing is refused with its line, and none is added.
 * chat: a chat template as in section 10; NULL: the model's own. path: UTF-8. */
PUNA_API int32_t PUNA_CALL puna_trainer_add_file(puna_trainer* trainer, int32_t held_out, const char* path, const char* chat,
                                                 puna_error* error);

typedef struct puna_train_info {
  uint32_t struct_size;
  int32_t finished;
  uint64_t steps, steps_done;
  uint64_t rows, tokens, learnt; /* of the rows; packed */
  uint64_t parameters;           /* that are trained */
  double loss;                   /* of the last step; NaN before the first */
  double held_out_before, held_out_after; /* NaN until measured */
  double general_before, general_after;
  uint64_t best_step;            /* whose weights these are: with patience that of the best measurement */
} puna_train_info;
/* From now on no rows can be added. */
PUNA_API int32_t PUNA_CALL puna_trainer_get_info(puna_trainer* trainer, puna_train_info* out, size_t size, puna_error* error);
/* The mean loss of step `index` so far. */
PUNA_API int32_t PUNA_CALL puna_trainer_loss(puna_trainer* trainer, uint64_t index, double* out, puna_error* error);
/* To the end of the run. cancel may be NULL. A cancelled run can go on, or be saved as of its last whole step. */
PUNA_API int32_t PUNA_CALL puna_trainer_run(puna_trainer* trainer, puna_cancel* cancel, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_trainer_job(puna_job** out, puna_trainer* trainer, puna_cancel* cancel, puna_progress_fn progress,
                                            void* progress_user, puna_error* error);
/* LoRA: a PEFT folder, or a GGUF adapter where the name ends in .gguf. Full: a .gguf, or a Hugging Face folder. type: "f32", "f16", "q8_0" and the like for full; NULL: f32. */
PUNA_API int32_t PUNA_CALL puna_trainer_save(puna_trainer* trainer, const char* path, const char* type, puna_error* error);
/* The state after the last whole step: the same model, rows and options go on from there to the same bits. */
PUNA_API int32_t PUNA_CALL puna_trainer_save_state(puna_trainer* trainer, const char* path, puna_error* error);
PUNA_API int32_t PUNA_CALL puna_trainer_restore(puna_trainer* trainer, const char* path, puna_error* error);

/* What a run needs, from the model's header alone. */
typedef struct puna_train_plan {
  uint32_t struct_size;
  int32_t fits;              /* 1: memory_bytes is within the budget, or there is none */
  uint64_t memory_bytes;     /* at most, all of the next four */
  uint64_t mapped_bytes;     /* of the weights, where the file is mapped; the rest goes through the runtime's allocator */
  uint64_t copied_bytes;     /* of the weights */
  uint64_t state_bytes;      /* what is trained, its gradients and its moments */
  uint64_t workspace_bytes;  /* rows in a pass; or on their way to the file */
  uint64_t disk_bytes;       /* of a checkpoint */
  uint64_t parameters;       /* that are trained */
  uint64_t steps;            /* 0: as many as the rows say, and nothing was said of rows */
  double seconds_per_step;   /* of full rows, 0: not measured, there is not memory enough */
  double seconds;            /* of the run, without measuring held-out rows; 0: not known */
  /* Where it does not fit: settings that do, as in puna_train_options; 0 each, where none was found. Smaller passes with more of
   * them a step, then shorter rows, then an adapter for the whole model, then a smaller rank. */
  uint64_t fit_memory_bytes;
  int32_t fit_method;
  uint32_t fit_batch, fit_accumulate, fit_length, fit_rank;
  uint32_t reserved;
} puna_train_plan;
/* budget: bytes, 0 for none. tokens: of the rows, 0 where they are not known. Times are measured: a few layers of the model's shape are
 * trained for some seconds with the runtime's threads and memory (NULL: one thread per core), so others on the machine take their share. */
PUNA_API int32_t PUNA_CALL puna_plan_train(puna_runtime* runtime, const puna_source* source, const puna_model_options* model_options,
                                           const puna_train_options* options, uint64_t budget, uint64_t tokens, puna_train_plan* out,
                                           size_t size, puna_error* error);

/* ---- 12 adapters -------------------------------------------------------------------------------------------------- */

typedef struct puna_adapter puna_adapter;
/* A PEFT folder or a GGUF adapter, checked against the model. */
PUNA_API int32_t PUNA_CALL puna_adapter_open(puna_adapter** out, const puna_model* model, const char* path, puna_error* error);
PUNA_API void PUNA_CALL puna_adapter_destroy(puna_adapter* adapter);
/* As a GGUF adapter, whatever it was read from. */
PUNA_API int32_t PUNA_CALL puna_adapter_save(const puna_adapter* adapter, const char* path, puna_error* error);
/* What later feeds add to the model, each with its scale; count 0: nothing. Tokens that are in the cache stay as they were
 * computed. The session keeps what it uses. */
PUNA_API int32_t PUNA_CALL puna_session_set_adapters(puna_session* session, const puna_adapter* const* adapters, const float* scales,
                                                     size_t count, puna_error* error);
/* Writes the model with adapters merged into its weights; everything else as puna_quantize, requantizing allowed. */
PUNA_API int32_t PUNA_CALL puna_merge(puna_runtime* runtime, const puna_source* source, const char* const* adapter_paths,
                                      const float* scales, size_t count, const char* out_path, const puna_quantize_options* options,
                                      puna_quantize_result* out, size_t size, puna_error* error);

#ifdef __cplusplus
}
#endif
#endif
