//! The C header `puna.h`, word for word. What each thing means is said there.
//!
//! Structs are `#[repr(C)]` and grow at their end only; fill option structs with their `_init` call, which is given the
//! size this crate knows. Safe wrappers: the crate `puna`.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_void};

pub const PUNA_OK: i32 = 0;
pub const PUNA_E_ARGUMENT: i32 = 1;
pub const PUNA_E_MEMORY: i32 = 2;
pub const PUNA_E_IO: i32 = 3;
pub const PUNA_E_FORMAT: i32 = 4;
pub const PUNA_E_UNSUPPORTED: i32 = 5;
pub const PUNA_E_CONTEXT_FULL: i32 = 6;
pub const PUNA_E_CANCELLED: i32 = 7;
pub const PUNA_E_CALLBACK: i32 = 8;
pub const PUNA_E_BUSY: i32 = 9;
pub const PUNA_E_STATE: i32 = 10;
pub const PUNA_E_HASH: i32 = 11;
pub const PUNA_E_ENCODING: i32 = 12;
pub const PUNA_E_BUFFER: i32 = 13;
pub const PUNA_E_INTERNAL: i32 = 99;

pub const PUNA_ABI_VERSION: u32 = 1;
pub const PUNA_MODEL_COPY: u32 = 1;
pub const PUNA_MODEL_NO_TOKENIZER: u32 = 2;
pub const PUNA_CACHE_F32: i32 = 0;
pub const PUNA_CACHE_F16: i32 = 1;
pub const PUNA_CACHE_Q8_0: i32 = 8;
pub const PUNA_CACHE_Q4_0: i32 = 2;
pub const PUNA_GENERATE_IGNORE_EOS: u32 = 1;
pub const PUNA_GENERATE_NO_BOS: u32 = 2;
pub const PUNA_GENERATE_PARSE_SPECIAL: u32 = 4;
pub const PUNA_STOP_NONE: i32 = 0;
pub const PUNA_STOP_EOS: i32 = 1;
pub const PUNA_STOP_LENGTH: i32 = 2;
pub const PUNA_STOP_CONTEXT: i32 = 3;
pub const PUNA_STOP_STRING: i32 = 4;
pub const PUNA_SOURCE_PATH: i32 = 0;
pub const PUNA_SOURCE_MEMORY: i32 = 1;
pub const PUNA_SOURCE_DESCRIPTOR: i32 = 2;
pub const PUNA_SOURCE_CALLBACK: i32 = 3;
pub const PUNA_SOURCE_SYNTHETIC: i32 = 4;

macro_rules! handles {
    ($($name:ident),*) => { $(
        #[repr(C)]
        pub struct $name { _opaque: [u8; 0], _not_send: std::marker::PhantomData<*mut u8> }
    )* };
}
handles!(puna_runtime, puna_cancel, puna_job, puna_model, puna_tokenizer, puna_sampler, puna_session, puna_trainer, puna_adapter);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_error {
    pub struct_size: u32,
    pub code: i32,
    pub user_code: i32,
    pub reserved: u32,
    pub text: [c_char; 496],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct puna_progress {
    pub struct_size: u32,
    pub phase: i32,
    pub done: u64,
    pub total: u64,
    pub elapsed_ms: f64,
}

pub type puna_progress_fn = Option<unsafe extern "C" fn(user: *mut c_void, progress: *const puna_progress) -> i32>;
pub type puna_text_fn = Option<unsafe extern "C" fn(user: *mut c_void, text: *const c_char, length: usize) -> i32>;
pub type puna_token_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *const puna_token_event) -> i32>;
pub type puna_read_fn = Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, dst: *mut c_void, n: usize) -> i32>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_token_logprob {
    pub id: i32,
    pub logprob: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_token_event {
    pub struct_size: u32,
    pub id: i32,
    pub text: *const c_char,
    pub text_length: usize,
    pub top: *const puna_token_logprob,
    pub top_count: u32,
    pub logprob: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_source {
    pub struct_size: u32,
    pub kind: i32,
    pub descriptor: i32,
    pub reserved: u32,
    pub offset: u64,
    pub size: u64,
    pub path: *const c_char,
    pub data: *const c_void,
    pub read: puna_read_fn,
    pub user: *mut c_void,
    pub sha256: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_model_options {
    pub struct_size: u32,
    pub flags: u32,
    pub tokenizer: *const puna_source,
    pub cancel: *mut puna_cancel,
    pub progress: puna_progress_fn,
    pub progress_user: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct puna_model_info {
    pub struct_size: u32,
    pub dim: u32,
    pub ffn_dim: u32,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub vocab: u32,
    pub context: u32,
    pub tied: u32,
    pub parameters: u64,
    pub weight_bytes: u64,
    pub norm_epsilon: f64,
    pub rope_theta: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct puna_session_options {
    pub struct_size: u32,
    pub context: u32,
    pub sequences: u32,
    pub cache_tokens: u32,
    pub batch: u32,
    pub max_logits: u32,
    pub cache_type: i32,
    pub threads: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_generate_options {
    pub struct_size: u32,
    pub flags: u32,
    pub max_tokens: u32,
    pub sequence: u32,
    pub logprobs: u32,
    pub stop_count: u32,
    pub stop: *const *const c_char,
    pub sampler: *mut puna_sampler,
    pub prompt_ids: *const i32,
    pub prompt_id_count: usize,
    pub cancel: *mut puna_cancel,
    pub progress: puna_progress_fn,
    pub progress_user: *mut c_void,
    pub on_token: puna_token_fn,
    pub on_token_user: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct puna_generate_result {
    pub struct_size: u32,
    pub stop: i32,
    pub prompt_tokens: u32,
    pub tokens: u32,
    pub prompt_ms: f64,
    pub decode_ms: f64,
}

pub const PUNA_TRAIN_LORA: i32 = 0;
pub const PUNA_TRAIN_FULL: i32 = 1;

pub type puna_train_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *const c_void) -> i32>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_train_options {
    pub struct_size: u32,
    pub method: i32,
    pub targets: u32,
    pub rank: u32,
    pub alpha: f64,
    pub dropout: f64,
    pub learning_rate: f64,
    pub final_rate: f64,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub clip: f64,
    pub beta: f64,
    pub schedule: i32,
    pub warmup: u32,
    pub epochs: u32,
    pub steps: u32,
    pub batch: u32,
    pub accumulate: u32,
    pub length: u32,
    pub evaluate_every: u32,
    pub seed: u64,
    pub flags: u32,
    pub threads: i32,
    pub held_out_permille: u32,
    pub patience: u32,
    pub checkpoint: *const c_char,
    pub checkpoint_every: u32,
    pub objective: i32,
    pub event: puna_train_fn,
    pub event_user: *mut c_void,
    pub reserved: *const c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct puna_train_info {
    pub struct_size: u32,
    pub finished: i32,
    pub steps: u64,
    pub steps_done: u64,
    pub rows: u64,
    pub tokens: u64,
    pub learnt: u64,
    pub parameters: u64,
    pub loss: f64,
    pub held_out_before: f64,
    pub held_out_after: f64,
    pub general_before: f64,
    pub general_after: f64,
    pub best_step: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct puna_encode_options {
    pub struct_size: u32,
    pub bos: i32,
    pub eos: i32,
    pub space_prefix: i32,
    pub parse_special: i32,
    pub reserved: u32,
}

extern "C" {
    pub fn puna_abi_version() -> u32;
    pub fn puna_version() -> *const c_char;
    pub fn puna_status_name(status: i32) -> *const c_char;
    pub fn puna_error_init(error: *mut puna_error, size: usize);

    pub fn puna_source_init(source: *mut puna_source, size: usize);
    pub fn puna_model_options_init(options: *mut puna_model_options, size: usize);
    pub fn puna_model_open(out: *mut *mut puna_model, runtime: *mut puna_runtime, path: *const c_char,
        options: *const puna_model_options, error: *mut puna_error) -> i32;
    pub fn puna_model_open_source(out: *mut *mut puna_model, runtime: *mut puna_runtime, source: *const puna_source,
        options: *const puna_model_options, error: *mut puna_error) -> i32;
    pub fn puna_model_destroy(model: *mut puna_model);
    pub fn puna_model_get_info(model: *const puna_model, out: *mut puna_model_info, size: usize, error: *mut puna_error) -> i32;
    pub fn puna_model_metadata_find(model: *const puna_model, key: *const c_char) -> *const c_char;
    pub fn puna_model_tokenizer(model: *const puna_model) -> *const puna_tokenizer;

    pub fn puna_session_options_init(options: *mut puna_session_options, size: usize);
    pub fn puna_session_create(out: *mut *mut puna_session, model: *const puna_model, options: *const puna_session_options,
        error: *mut puna_error) -> i32;
    pub fn puna_session_destroy(session: *mut puna_session);
    pub fn puna_session_length(session: *const puna_session, sequence: u32, length: *mut u32, error: *mut puna_error) -> i32;
    pub fn puna_session_truncate(session: *mut puna_session, sequence: u32, length: u32, error: *mut puna_error) -> i32;
    pub fn puna_session_tokens(session: *const puna_session, sequence: u32, ids: *mut i32, capacity: usize, count: *mut usize,
        error: *mut puna_error) -> i32;

    pub fn puna_generate_options_init(options: *mut puna_generate_options, size: usize);
    pub fn puna_session_generate_job(out: *mut *mut puna_job, session: *mut puna_session, text: *const c_char, length: usize,
        options: *const puna_generate_options, on_text: puna_text_fn, user: *mut c_void, error: *mut puna_error) -> i32;
    pub fn puna_job_step(job: *mut puna_job, max_ms: f64, done: *mut i32, error: *mut puna_error) -> i32;
    pub fn puna_job_cancel(job: *mut puna_job);
    pub fn puna_job_progress(job: *const puna_job, out: *mut puna_progress, size: usize, error: *mut puna_error) -> i32;
    pub fn puna_job_generated(job: *const puna_job, out: *mut puna_generate_result, size: usize, error: *mut puna_error) -> i32;
    pub fn puna_job_destroy(job: *mut puna_job);

    pub fn puna_encode_options_init(options: *mut puna_encode_options, size: usize);
    pub fn puna_tokenizer_encode(tokenizer: *const puna_tokenizer, text: *const c_char, length: usize,
        options: *const puna_encode_options, ids: *mut i32, capacity: usize, count: *mut usize, error: *mut puna_error) -> i32;
    pub fn puna_tokenizer_decode(tokenizer: *const puna_tokenizer, ids: *const i32, id_count: usize, text: *mut c_char,
        capacity: usize, length: *mut usize, error: *mut puna_error) -> i32;

    pub fn puna_sampler_create(out: *mut *mut puna_sampler, seed: u64, error: *mut puna_error) -> i32;
    pub fn puna_sampler_destroy(sampler: *mut puna_sampler);
    pub fn puna_sampler_add_temperature(sampler: *mut puna_sampler, temperature: f64, error: *mut puna_error) -> i32;
    pub fn puna_sampler_add_top_k(sampler: *mut puna_sampler, k: u32, error: *mut puna_error) -> i32;
    pub fn puna_sampler_add_top_p(sampler: *mut puna_sampler, p: f64, error: *mut puna_error) -> i32;

    pub fn puna_train_options_init(options: *mut puna_train_options, size: usize);
    pub fn puna_trainer_create(out: *mut *mut puna_trainer, model: *const puna_model, options: *const puna_train_options,
        error: *mut puna_error) -> i32;
    pub fn puna_trainer_destroy(trainer: *mut puna_trainer);
    pub fn puna_trainer_add_file(trainer: *mut puna_trainer, held_out: i32, path: *const c_char, chat: *const c_char,
        error: *mut puna_error) -> i32;
    pub fn puna_trainer_get_info(trainer: *mut puna_trainer, out: *mut puna_train_info, size: usize, error: *mut puna_error) -> i32;
    pub fn puna_trainer_run(trainer: *mut puna_trainer, cancel: *mut puna_cancel, error: *mut puna_error) -> i32;
    pub fn puna_trainer_save(trainer: *mut puna_trainer, path: *const c_char, kind: *const c_char, error: *mut puna_error) -> i32;

    pub fn puna_adapter_open(out: *mut *mut puna_adapter, model: *const puna_model, path: *const c_char, error: *mut puna_error) -> i32;
    pub fn puna_adapter_destroy(adapter: *mut puna_adapter);
    pub fn puna_session_set_adapters(session: *mut puna_session, adapters: *const *const puna_adapter, scales: *const f32,
        count: usize, error: *mut puna_error) -> i32;
}
