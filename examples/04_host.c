/* The host in charge: its own allocator, its own threads, its own log, progress, and a cancel from another thread.
 *   04_host MODEL "Once upon a time" [CANCEL_AFTER_MS]      (POSIX threads) */
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200112L /* posix_memalign, nanosleep */
#endif
#include <puna.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- memory: every large byte of the library passes here ------------------------------------------------------ */
typedef struct {
  pthread_mutex_t lock;
  size_t used, peak;
} arena;

static void* PUNA_CALL host_allocate(void* user, size_t bytes, size_t alignment) {
  arena* a = user;
  void* memory = NULL;
  if (posix_memalign(&memory, alignment < sizeof(void*) ? sizeof(void*) : alignment, bytes) != 0) return NULL;
  pthread_mutex_lock(&a->lock);
  a->used += bytes;
  if (a->used > a->peak) a->peak = a->used;
  pthread_mutex_unlock(&a->lock);
  return memory;
}

static void PUNA_CALL host_release(void* user, void* memory, size_t bytes, size_t alignment) {
  arena* a = user;
  (void)alignment;
  pthread_mutex_lock(&a->lock);
  a->used -= bytes;
  pthread_mutex_unlock(&a->lock);
  free(memory);
}

/* ---- tasks: one helper beside the caller. For one job at a time, which is all there is here ---------------------- */
typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  puna_task_fn task;
  void* context;
  uint32_t next, count, running;
  int quit;
} crew;

/* Takes tasks as long as there are any. Called, and returns, with the lock held. */
static void work(crew* c) {
  while (c->next < c->count) {
    const uint32_t i = c->next++;
    const puna_task_fn task = c->task;
    void* const context = c->context;
    ++c->running;
    pthread_mutex_unlock(&c->lock);
    task(context, i);
    pthread_mutex_lock(&c->lock);
    if (--c->running == 0) pthread_cond_broadcast(&c->changed);
  }
}

static void* helper(void* user) {
  crew* c = user;
  pthread_mutex_lock(&c->lock);
  while (!c->quit) {
    work(c);
    pthread_cond_wait(&c->changed, &c->lock);
  }
  pthread_mutex_unlock(&c->lock);
  return NULL;
}

static void PUNA_CALL host_parallel_for(void* user, uint32_t count, puna_task_fn task, void* context) {
  crew* c = user;
  pthread_mutex_lock(&c->lock);
  c->task = task;
  c->context = context;
  c->next = 0;
  c->count = count;
  pthread_cond_broadcast(&c->changed);
  work(c);
  while (c->running > 0) pthread_cond_wait(&c->changed, &c->lock);
  pthread_mutex_unlock(&c->lock);
}

/* ---- log, progress, text, cancel --------------------------------------------------------------------------------- */
static void PUNA_CALL host_log(void* user, int32_t level, const char* text, size_t length) {
  (void)user;
  fprintf(stderr, "[log %d] %.*s\n", (int)level, (int)length, text);
}

static int32_t PUNA_CALL host_progress(void* user, const puna_progress* p) {
  int32_t* phase = user; /* one line per phase is enough here */
  if (*phase != p->phase) fprintf(stderr, "[phase %d] %llu in all\n", (int)p->phase, (unsigned long long)p->total);
  *phase = p->phase;
  return 0;
}

static int32_t PUNA_CALL show(void* user, const char* text, size_t length) {
  (void)user;
  return fwrite(text, 1, length, stdout) != length || fflush(stdout) != 0;
}

typedef struct {
  puna_cancel* cancel;
  long after_ms;
} timer;

static void* trip_later(void* user) {
  const timer* t = user;
  struct timespec pause;
  pause.tv_sec = t->after_ms / 1000;
  pause.tv_nsec = t->after_ms % 1000 * 1000000;
  nanosleep(&pause, NULL);
  puna_cancel_trip(t->cancel);
  return NULL;
}

static int32_t run(puna_runtime* runtime, const char* path, const char* prompt, puna_cancel* cancel,
                   puna_error* error) {
  puna_model* model = NULL;
  puna_session* session = NULL;
  puna_model_options model_options;
  puna_generate_options generate;
  int32_t status, phase = 0;
  puna_model_options_init(&model_options, sizeof model_options);
  model_options.flags = PUNA_MODEL_COPY; /* weights through the allocator too, instead of mapped */
  model_options.cancel = cancel;
  model_options.progress = host_progress;
  model_options.progress_user = &phase;
  puna_generate_options_init(&generate, sizeof generate);
  generate.cancel = cancel;
  generate.progress = host_progress;
  generate.progress_user = &phase;
  status = puna_model_open(&model, runtime, path, &model_options, error);
  if (status == PUNA_OK) status = puna_session_create(&session, model, NULL, error);
  if (status == PUNA_OK) status = puna_session_generate(session, prompt, strlen(prompt), &generate, show, NULL, error);
  puna_session_destroy(session);
  puna_model_destroy(model);
  return status;
}

int main(int argc, char** argv) {
  arena memory = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
  crew tasks = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0, 0, 0, 0};
  pthread_t helping, timing;
  timer later = {NULL, 0};
  puna_error error;
  puna_runtime* runtime = NULL;
  puna_runtime_options options;
  int32_t status;

  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL TEXT [CANCEL_AFTER_MS]\n", argv[0]);
    return 2;
  }
  later.after_ms = argc > 3 ? atol(argv[3]) : 2000;
  puna_error_init(&error, sizeof error);
  puna_runtime_options_init(&options, sizeof options);
  options.threads = 2;
  options.allocate = host_allocate;
  options.release = host_release;
  options.allocator_user = &memory;
  options.parallel_for = host_parallel_for;
  options.tasks_user = &tasks;
  options.log = host_log;
  status = puna_cancel_create(&later.cancel, &error);
  if (status == PUNA_OK) status = puna_runtime_create(&runtime, &options, &error);
  if (status != PUNA_OK || pthread_create(&helping, NULL, helper, &tasks) != 0) return 1;
  if (pthread_create(&timing, NULL, trip_later, &later) != 0) return 1;

  status = run(runtime, argv[1], argv[2], later.cancel, &error);
  if (status != PUNA_OK) fprintf(stderr, "\n[%s] %s\n", puna_status_name(status), error.text);
  puna_runtime_destroy(runtime);

  puna_cancel_trip(later.cancel);
  pthread_join(timing, NULL);
  puna_cancel_destroy(later.cancel);
  pthread_mutex_lock(&tasks.lock);
  tasks.quit = 1;
  pthread_cond_broadcast(&tasks.changed);
  pthread_mutex_unlock(&tasks.lock);
  pthread_join(helping, NULL);
  fprintf(stderr, "\n[memory] peak %lu bytes, %lu left\n", (unsigned long)memory.peak, (unsigned long)memory.used);
  return status != PUNA_OK && status != PUNA_E_CANCELLED;
}
