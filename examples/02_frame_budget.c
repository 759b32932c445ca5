/* A game loop that has a model talk while it draws: each frame gives the work one millisecond and goes on.
 *   02_frame_budget MODEL "Once upon a time" [FRAMES]
 * Nothing here blocks: a step returns when its time is up, in the middle of a token if need be. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 199309L /* clock_gettime, nanosleep */
#endif
#include <puna.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
static double now_ms(void) {
  LARGE_INTEGER count, rate;
  QueryPerformanceCounter(&count);
  QueryPerformanceFrequency(&rate);
  return (double)count.QuadPart * 1000.0 / (double)rate.QuadPart;
}
static void sleep_ms(double ms) { Sleep((DWORD)ms); }
#else
#include <time.h>
static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}
static void sleep_ms(double ms) {
  struct timespec t;
  t.tv_sec = 0;
  t.tv_nsec = (long)(ms * 1e6);
  nanosleep(&t, NULL);
}
#endif

#define BUDGET_MS 1.0
#define FRAME_MS (1000.0 / 60)

static int32_t PUNA_CALL speech_bubble(void* user, const char* text, size_t length) {
  (void)user;
  return fwrite(text, 1, length, stdout) != length || fflush(stdout) != 0;
}

static int by_size(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

/* Runs frames until the job is finished; returns how many, with what each step took in `took`. */
static int play(puna_job* job, double* took, int frames, int32_t* status, puna_error* error) {
  int32_t done = 0;
  int frame = 0;
  while (frame < frames && !done && *status == PUNA_OK) {
    const double begin = now_ms();
    double rest;
    *status = puna_job_step(job, BUDGET_MS, &done, error);
    took[frame++] = now_ms() - begin;
    /* ... input, physics and drawing would be here ... */
    rest = FRAME_MS - (now_ms() - begin);
    if (rest > 0) sleep_ms(rest);
  }
  return frame;
}

int main(int argc, char** argv) {
  const int frames = argc > 3 ? atoi(argv[3]) : 3600;
  double* took = frames > 0 ? malloc((size_t)frames * sizeof *took) : NULL;
  puna_error error;
  puna_model* model = NULL;
  puna_session* session = NULL;
  puna_job* job = NULL;
  int32_t status;
  int played = 0;

  if (argc < 3 || took == NULL) {
    fprintf(stderr, "usage: %s MODEL TEXT [FRAMES]\n", argv[0]);
    free(took);
    return 2;
  }
  puna_error_init(&error, sizeof error);
  status = puna_model_open(&model, NULL, argv[1], NULL, &error);
  if (status == PUNA_OK) status = puna_session_create(&session, model, NULL, &error);
  if (status == PUNA_OK)
    status = puna_session_generate_job(&job, session, argv[2], strlen(argv[2]), NULL, speech_bubble, NULL, &error);
  if (status == PUNA_OK) played = play(job, took, frames, &status, &error);
  if (status != PUNA_OK) fprintf(stderr, "%s\n", error.text);

  if (played > 0) {
    qsort(took, (size_t)played, sizeof *took, by_size);
    fprintf(stderr, "\n%d frames; a step of %.1f ms took %.2f ms (median), %.2f ms (worst)\n", played, BUDGET_MS,
            took[played / 2], took[played - 1]);
  }
  puna_job_destroy(job); /* unfinished: that cancels it */
  puna_session_destroy(session);
  puna_model_destroy(model);
  free(took);
  return status != PUNA_OK;
}
