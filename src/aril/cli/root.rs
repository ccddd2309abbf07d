//! Where the state of containers is kept.

use crate::error::{Doing, Error, Result};
use crate::sys;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Who asks, as far as the state root depends on it.
#[derive(Debug, Clone, Default)]
struct Caller {
    euid: u32,
    in_userns: bool,
    /// `$USER`
    user: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`
    runtime_dir: Option<OsString>,
}

/// The state root, as an absolute path: the one that was named, or the default.
///
/// # Errors
/// It is `/`, or there is no current directory that it could be relative to.
pub(super) fn resolve(named: Option<PathBuf>) -> Result<PathBuf> {
    let root = match named {
        Some(root) => root,
        None => default(&Caller {
            euid: sys::process::geteuid(),
            in_userns: sys::process::in_userns()?,
            user: std::env::var_os("USER"),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
        }),
    };
    if is_slash(&root) {
        return Err(Error::Other(format!(
            "the state root {root:?} is the root of the file system: every directory there would be taken for a container"
        )));
    }
    std::path::absolute(&root)
        .map_err(|error| sys::Error::bare("getcwd", sys::fs::errno(&error)))
        .doing(|| format!("cannot find the state root {root:?}"))
}

/// `/run/aril`, or below the user's runtime directory for all but the machine's root: also for a root of a user namespace that the user
/// entered (`unshare -r` keeps `$USER`, and rootless Podman passes none).
fn default(caller: &Caller) -> PathBuf {
    let by_user = caller.euid != 0 || (caller.in_userns && caller.user.as_ref().is_none_or(|user| user != "root"));
    match caller.runtime_dir.as_ref().filter(|dir| !dir.is_empty()) {
        Some(dir) if by_user => Path::new(dir).join("aril"),
        None if caller.euid != 0 => PathBuf::from(format!("/run/user/{}/aril", caller.euid)),
        _ => PathBuf::from("/run/aril"),
    }
}

/// Whether a path leads to `/`, by whatever spelling or link.
fn is_slash(path: &Path) -> bool {
    let identity = |path: &Path| nix::sys::stat::stat(path).map(|it| (it.st_dev, it.st_ino)).ok();
    identity(path).is_some_and(|it| Some(it) == identity(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::{Caller, default, is_slash, resolve};
    use std::path::Path;

    #[test]
    fn root_of_the_machine_uses_run() {
        assert_eq!(default(&Caller { runtime_dir: Some("/x".into()), ..Caller::default() }), Path::new("/run/aril"));
        let in_container = Caller { in_userns: true, user: Some("root".into()), runtime_dir: Some("/x".into()), euid: 0 };
        assert_eq!(default(&in_container), Path::new("/run/aril"));
        assert_eq!(default(&Caller { user: None, ..in_container }), Path::new("/x/aril"));
    }

    #[test]
    fn users_have_their_own() {
        let user = Caller { euid: 1000, user: Some("u".into()), runtime_dir: Some("/run/user/1000".into()), in_userns: false };
        assert_eq!(default(&user), Path::new("/run/user/1000/aril"));
        assert_eq!(default(&Caller { euid: 0, in_userns: true, ..user.clone() }), Path::new("/run/user/1000/aril"));
        assert_eq!(default(&Caller { runtime_dir: None, ..user.clone() }), Path::new("/run/user/1000/aril"));
        assert_eq!(default(&Caller { runtime_dir: Some("".into()), ..user }), Path::new("/run/user/1000/aril"));
    }

    #[test]
    fn slash_is_refused_in_every_spelling() {
        for path in ["/", "//", "/.", "/../", "/proc/..", "/proc/self/root"] {
            assert!(is_slash(Path::new(path)), "{path}");
            assert!(resolve(Some(path.into())).is_err(), "{path}");
        }
        assert!(!is_slash(Path::new("/proc")) && !is_slash(Path::new("/does/not/exist")));
    }

    #[test]
    fn a_relative_root_becomes_absolute() {
        let root = resolve(Some("state".into())).expect("a directory of the current one");
        assert_eq!(root, std::env::current_dir().expect("there is one").join("state"));
    }
}
