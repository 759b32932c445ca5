//! Llama 2 inside a Rust program, over the C library.
//!
//! ```no_run
//! # fn main() -> Result<(), puna::Error> {
//! for piece in puna::Model::open("model.gguf")?.session()?.generate("Once upon a time")? {
//!     print!("{}", piece?);
//! }
//! # Ok(()) }
//! ```
//! A [`Model`] is immutable and shared by any number of threads; a [`Session`] moves between threads and is used by one at
//! a time. Dropping in any order is fine. Text arrives in whole characters.

mod error;
mod generate;
mod train;

use std::{ffi::CString, mem::size_of, path::Path, ptr};

use puna_sys as sys;

pub use error::{Error, Result};
pub use generate::{Generation, Options, Stop, Summary};
pub use train::{Adapter, TrainOptions, Trainer};

use error::call;

fn c_path(path: impl AsRef<Path>) -> Result<CString> {
    let path = path.as_ref().to_str().ok_or_else(|| Error::argument("the path is not UTF-8"))?;
    CString::new(path).map_err(|_| Error::argument("the path has a NUL in it"))
}

/// Weights, vocabulary and metadata of one model.
pub struct Model {
    raw: *mut sys::puna_model,
}

// The C library lets any number of threads use a const model.
unsafe impl Send for Model {}
unsafe impl Sync for Model {}

/// The shape of a model.
pub type ModelInfo = sys::puna_model_info;

impl Model {
    /// Opens a GGUF file, a Hugging Face folder, a Meta folder or checkpoint, or a llama2.c file.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        let path = c_path(path)?;
        let mut raw = ptr::null_mut();
        call(|e| unsafe { sys::puna_model_open(&mut raw, ptr::null_mut(), path.as_ptr(), ptr::null(), e) })?;
        Ok(Model { raw })
    }

    pub fn info(&self) -> Result<ModelInfo> {
        let mut info = ModelInfo::default();
        call(|e| unsafe { sys::puna_model_get_info(self.raw, &mut info, size_of::<ModelInfo>(), e) })?;
        Ok(info)
    }

    /// A session with the model's own context.
    pub fn session(&self) -> Result<Session> {
        self.session_with(0)
    }

    /// A session whose sequences hold at most `context` tokens; 0 for the model's own.
    pub fn session_with(&self, context: u32) -> Result<Session> {
        let mut raw = ptr::null_mut();
        call(|e| unsafe {
            let mut options = std::mem::zeroed();
            sys::puna_session_options_init(&mut options, size_of::<sys::puna_session_options>());
            options.context = context;
            sys::puna_session_create(&mut raw, self.raw, &options, e)
        })?;
        Ok(Session { raw })
    }

    /// Ids of a text, with the model's own choice about BOS.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let tokenizer = unsafe { sys::puna_model_tokenizer(self.raw) };
        let mut count = 0;
        // A first call with no room asks for the size.
        call(|e| unsafe {
            sys::puna_tokenizer_encode(tokenizer, text.as_ptr().cast(), text.len(), ptr::null(), ptr::null_mut(), 0, &mut count, e)
        })?;
        let mut ids = vec![0; count];
        call(|e| unsafe {
            sys::puna_tokenizer_encode(tokenizer, text.as_ptr().cast(), text.len(), ptr::null(), ids.as_mut_ptr(), ids.len(), &mut count, e)
        })?;
        Ok(ids)
    }

    /// Text of ids.
    pub fn decode(&self, ids: &[i32]) -> Result<String> {
        let tokenizer = unsafe { sys::puna_model_tokenizer(self.raw) };
        let mut length = 0;
        call(|e| unsafe {
            sys::puna_tokenizer_decode(tokenizer, ids.as_ptr(), ids.len(), ptr::null_mut(), 0, &mut length, e)
        })?;
        let mut bytes = vec![0u8; length];
        call(|e| unsafe {
            sys::puna_tokenizer_decode(tokenizer, ids.as_ptr(), ids.len(), bytes.as_mut_ptr().cast(), bytes.len(), &mut length, e)
        })?;
        String::from_utf8(bytes).map_err(|_| Error::argument("the ids do not decode to UTF-8"))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { sys::puna_model_destroy(self.raw) }
    }
}

/// A sequence in progress on a model: its cache and workspace.
pub struct Session {
    raw: *mut sys::puna_session,
}

// The C library has no thread-local state; `&mut self` below keeps it to one thread at a time.
unsafe impl Send for Session {}

impl Session {
    /// Continues the sequence greedily; see [`Session::generate_with`].
    pub fn generate(&mut self, prompt: &str) -> Result<Generation<'_>> {
        self.generate_with(prompt, &Options::default())
    }

    /// Continues the sequence: the prompt is appended, then text is drawn and yielded piece by piece.
    pub fn generate_with(&mut self, prompt: &str, options: &Options) -> Result<Generation<'_>> {
        Generation::begin(self.raw, prompt, options)
    }

    /// Tokens held.
    pub fn len(&self) -> Result<u32> {
        let mut length = 0;
        call(|e| unsafe { sys::puna_session_length(self.raw, 0, &mut length, e) })?;
        Ok(length)
    }

    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets what later tokens add to the model, each with its scale; nothing: the model alone.
    pub fn set_adapters(&mut self, uses: &[(&Adapter, f32)]) -> Result<()> {
        let handles: Vec<_> = uses.iter().map(|(a, _)| a.raw as *const _).collect();
        let scales: Vec<f32> = uses.iter().map(|(_, s)| *s).collect();
        call(|e| unsafe { sys::puna_session_set_adapters(self.raw, handles.as_ptr(), scales.as_ptr(), uses.len(), e) })
    }

    /// Forgets everything after the first `length` tokens.
    pub fn truncate(&mut self, length: u32) -> Result<()> {
        call(|e| unsafe { sys::puna_session_truncate(self.raw, 0, length, e) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { sys::puna_session_destroy(self.raw) }
    }
}

/// The version of the library that was loaded.
pub fn version() -> &'static str {
    unsafe { std::ffi::CStr::from_ptr(sys::puna_version()) }.to_str().unwrap_or("?")
}
