use std::{mem::size_of, path::Path, ptr};

use puna_sys as sys;

use crate::{c_path, error::call, Model, Result};

/// A LoRA beside a model; sessions that use it keep it.
pub struct Adapter {
    pub(crate) raw: *mut sys::puna_adapter,
}

// The C library never changes one.
unsafe impl Send for Adapter {}
unsafe impl Sync for Adapter {}

impl Model {
    /// Opens a PEFT folder or a GGUF adapter.
    pub fn adapter(&self, path: impl AsRef<Path>) -> Result<Adapter> {
        let path = c_path(path)?;
        let mut raw = ptr::null_mut();
        call(|e| unsafe { sys::puna_adapter_open(&mut raw, self.raw, path.as_ptr(), e) })?;
        Ok(Adapter { raw })
    }

    /// A run of training on this model.
    pub fn trainer(&self, options: &TrainOptions) -> Result<Trainer> {
        let mut raw = ptr::null_mut();
        call(|e| unsafe {
            let mut o: sys::puna_train_options = std::mem::zeroed();
            sys::puna_train_options_init(&mut o, size_of::<sys::puna_train_options>());
            o.method = if options.full { sys::PUNA_TRAIN_FULL } else { sys::PUNA_TRAIN_LORA };
            for (field, value) in [
                (&mut o.rank, options.rank),
                (&mut o.epochs, options.epochs),
                (&mut o.steps, options.steps),
                (&mut o.batch, options.batch),
                (&mut o.length, options.length),
                (&mut o.held_out_permille, options.held_out_permille),
            ] {
                if value != 0 {
                    *field = value;
                }
            }
            o.learning_rate = options.learning_rate;
            o.seed = options.seed;
            sys::puna_trainer_create(&mut raw, self.raw, &o, e)
        })?;
        Ok(Trainer { raw })
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        unsafe { sys::puna_adapter_destroy(self.raw) }
    }
}

/// How to train; zeros are the library's defaults.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// The whole model; else an adapter.
    pub full: bool,
    pub rank: u32,
    pub learning_rate: f64,
    pub epochs: u32,
    pub steps: u32,
    pub batch: u32,
    pub length: u32,
    /// Of 1000 rows, the last ones: measured, not learnt.
    pub held_out_permille: u32,
    pub seed: u64,
}

/// A run: give it rows, run it, save what it leaves.
pub struct Trainer {
    raw: *mut sys::puna_trainer,
}

// No thread-local state; `&mut self` keeps it to one thread at a time.
unsafe impl Send for Trainer {}

impl Trainer {
    /// Adds the rows of a file: JSON lines, CSV or text, recognised by themselves.
    pub fn add_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path)?;
        call(|e| unsafe { sys::puna_trainer_add_file(self.raw, 0, path.as_ptr(), ptr::null(), e) })
    }

    /// Trains to the end.
    pub fn run(&mut self) -> Result<()> {
        call(|e| unsafe { sys::puna_trainer_run(self.raw, ptr::null_mut(), e) })
    }

    /// Loss of the rows that were held out, before and after; NaN where there are none.
    pub fn held_out(&mut self) -> Result<(f64, f64)> {
        let mut info = sys::puna_train_info::default();
        call(|e| unsafe { sys::puna_trainer_get_info(self.raw, &mut info, size_of::<sys::puna_train_info>(), e) })?;
        Ok((info.held_out_before, info.held_out_after))
    }

    /// Writes a PEFT folder, or a .gguf; for a full run a model.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path)?;
        call(|e| unsafe { sys::puna_trainer_save(self.raw, path.as_ptr(), ptr::null(), e) })
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        unsafe { sys::puna_trainer_destroy(self.raw) }
    }
}
