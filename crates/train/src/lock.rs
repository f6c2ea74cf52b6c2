//! A folder for one process at a time.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use crate::{Error, Result};

/// Locks the file `path`, which is made if need be, until what is returned is dropped. `dir` is what is
/// claimed with it.
///
/// # Errors
/// [`Error::Busy`] if another process has it, [`Error::Write`] if the file cannot be made.
pub(crate) fn lock(path: &Path, dir: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|source| Error::write(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(Error::write(path, source)),
    }
}
