use std::{ffi::CStr, fmt, mem};

use puna_sys as sys;

/// A status of the C library with its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    code: i32,
    text: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn argument(text: &str) -> Error {
        Error { code: sys::PUNA_E_ARGUMENT, text: text.to_owned() }
    }
    /// One of `puna_sys::PUNA_E_…`.
    pub fn code(&self) -> i32 {
        self.code
    }
    /// "PUNA_E_FORMAT" and the like.
    pub fn name(&self) -> &'static str {
        unsafe { CStr::from_ptr(sys::puna_status_name(self.code)) }.to_str().unwrap_or("?")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { f.write_str(self.name()) } else { f.write_str(&self.text) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.text)
    }
}

impl std::error::Error for Error {}

/// Makes a call that takes a puna_error and turns its status into a Result.
pub(crate) fn call(f: impl FnOnce(*mut sys::puna_error) -> i32) -> Result<()> {
    // Safe: all-zero bytes are a valid puna_error, and init fills it.
    let mut error: sys::puna_error = unsafe { mem::zeroed() };
    unsafe { sys::puna_error_init(&mut error, mem::size_of::<sys::puna_error>()) };
    let code = f(&mut error);
    if code == sys::PUNA_OK {
        return Ok(());
    }
    let text = unsafe { CStr::from_ptr(error.text.as_ptr()) }.to_string_lossy().into_owned();
    Err(Error { code, text })
}
