use std::{
    collections::VecDeque,
    ffi::{c_void, CString},
    marker::PhantomData,
    mem::{self, size_of},
    os::raw::c_char,
    ptr,
};

use puna_sys as sys;

use crate::{error::call, Error, Result, Session};

/// How to continue a prompt. The default is greedy, until the end of the text or the context.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// 0: until the context is full.
    pub max_tokens: u32,
    /// 0: the likeliest token, always.
    pub temperature: f64,
    /// 0: off.
    pub top_k: u32,
    /// 0 or 1: off.
    pub top_p: f64,
    pub seed: u64,
    /// The text ends before the first of these that appears.
    pub stop: Vec<String>,
    pub ignore_eos: bool,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Eos,
    Length,
    Context,
    String,
    Unknown,
}

/// What a finished generation was.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub stop: Stop,
    pub prompt_tokens: u32,
    pub tokens: u32,
    pub prompt_ms: f64,
    pub decode_ms: f64,
}

/// Text as it is drawn: an iterator over pieces of whole characters. Dropping it stops the work.
pub struct Generation<'session> {
    job: *mut sys::puna_job,
    sampler: *mut sys::puna_sampler,
    // Boxed: the C library keeps its address.
    pieces: Box<VecDeque<String>>,
    finished: bool,
    session: PhantomData<&'session mut Session>,
}

unsafe impl Send for Generation<'_> {}

/// How long one step may take before the iterator looks for text.
const STEP_MS: f64 = 2.0;

unsafe extern "C" fn keep(user: *mut c_void, text: *const c_char, length: usize) -> i32 {
    let bytes = std::slice::from_raw_parts(text.cast::<u8>(), length);
    let pieces = &mut *user.cast::<VecDeque<String>>();
    match std::str::from_utf8(bytes) {
        Ok(piece) => pieces.push_back(piece.to_owned()),
        Err(_) => return 1,
    }
    0
}

impl Generation<'_> {
    pub(crate) fn begin<'s>(session: *mut sys::puna_session, prompt: &str, o: &Options) -> Result<Generation<'s>> {
        let stop: Vec<CString> = o
            .stop
            .iter()
            .map(|s| CString::new(s.as_str()).map_err(|_| Error::argument("a stop string has a NUL in it")))
            .collect::<Result<_>>()?;
        let stop_pointers: Vec<*const c_char> = stop.iter().map(|s| s.as_ptr()).collect();
        let mut generation = Generation {
            job: ptr::null_mut(),
            sampler: ptr::null_mut(),
            pieces: Box::new(VecDeque::new()),
            finished: false,
            session: PhantomData,
        };
        if o.temperature != 0.0 {
            generation.add_sampler(o)?;
        }
        let user: *mut VecDeque<String> = &mut *generation.pieces;
        let (mut job, sampler) = (ptr::null_mut(), generation.sampler);
        call(|e| unsafe {
            let mut options: sys::puna_generate_options = mem::zeroed();
            sys::puna_generate_options_init(&mut options, size_of::<sys::puna_generate_options>());
            options.max_tokens = o.max_tokens;
            options.flags = if o.ignore_eos { sys::PUNA_GENERATE_IGNORE_EOS } else { 0 };
            options.sampler = sampler;
            options.stop = stop_pointers.as_ptr();
            options.stop_count = stop_pointers.len() as u32;
            sys::puna_session_generate_job(&mut job, session, prompt.as_ptr().cast(), prompt.len(), &options, Some(keep), user.cast(), e)
        })?;
        generation.job = job;
        Ok(generation)
    }

    fn add_sampler(&mut self, o: &Options) -> Result<()> {
        let sampler = &mut self.sampler;
        call(|e| unsafe { sys::puna_sampler_create(sampler, o.seed, e) })?;
        call(|e| unsafe { sys::puna_sampler_add_top_k(*sampler, o.top_k, e) })?;
        let top_p = if o.top_p == 0.0 { 1.0 } else { o.top_p };
        call(|e| unsafe { sys::puna_sampler_add_top_p(*sampler, top_p, e) })?;
        call(|e| unsafe { sys::puna_sampler_add_temperature(*sampler, o.temperature, e) })
    }

    /// What it was, once it has ended.
    pub fn summary(&self) -> Result<Summary> {
        let mut r = sys::puna_generate_result::default();
        call(|e| unsafe { sys::puna_job_generated(self.job, &mut r, size_of::<sys::puna_generate_result>(), e) })?;
        let stop = match r.stop {
            sys::PUNA_STOP_EOS => Stop::Eos,
            sys::PUNA_STOP_LENGTH => Stop::Length,
            sys::PUNA_STOP_CONTEXT => Stop::Context,
            sys::PUNA_STOP_STRING => Stop::String,
            _ => Stop::Unknown,
        };
        Ok(Summary { stop, prompt_tokens: r.prompt_tokens, tokens: r.tokens, prompt_ms: r.prompt_ms, decode_ms: r.decode_ms })
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some(Ok(piece));
            }
            if self.finished {
                return None;
            }
            let mut done = 0;
            if let Err(error) = call(|e| unsafe { sys::puna_job_step(self.job, STEP_MS, &mut done, e) }) {
                self.finished = true;
                return Some(Err(error));
            }
            self.finished = done != 0;
        }
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        unsafe {
            sys::puna_job_destroy(self.job);
            sys::puna_sampler_destroy(self.sampler);
        }
    }
}
