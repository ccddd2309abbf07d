//! `NOTIFY_SOCKET` (sd_notify(3)): the container gets a socket of its own, and this process passes on what it says.
//!
//! The socket is in a directory of the container's state, which is mounted at `/run/notify` in the container. Of what comes, `READY=1` is passed on
//! and nothing else: the service manager trusts what it is told, and the container is not to be trusted with its main process or its file descriptors.

use super::store::Store;
use crate::config::spec::{LinuxNamespaceType, Mount, Spec};
use crate::error::{Doing, Result};
use crate::sys::{self, Errno, socket};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// The directory of the container's socket, in its state directory.
pub const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the container has it.
const INSIDE: &str = "/run/notify";
/// So long the service manager may take to read what it was told, in milliseconds: it looks at the sender, which has to be there until then.
const BARRIER_MS: u16 = 5000;

/// The socket of the service manager that started this process.
#[must_use]
pub fn of_caller() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

/// Mounts the socket's directory in a container whose state is at `state`; the variable for its process. `None` where it has no mount namespace, or where
/// the configuration names a socket itself.
#[must_use]
pub fn mount(spec: &mut Spec, state: &Path) -> Option<String> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mounts = namespaces.is_some_and(|list| list.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount));
    let env = spec.process().as_ref().and_then(|process| process.env().as_deref()).unwrap_or_default();
    if !mounts || env.iter().any(|variable| variable.starts_with("NOTIFY_SOCKET=")) {
        return None;
    }
    let mut mount = Mount::default();
    mount.set_destination(INSIDE.into()).set_typ(Some("bind".to_owned())).set_source(Some(state.join(DIRECTORY)));
    mount.set_options(Some(["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec()));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    Some(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"))
}

/// Makes the directory; the container's user may look into it.
///
/// # Errors
/// The call that failed.
pub fn prepare(store: &Store) -> Result<()> {
    let make = || sys::fs::mkdirat(store.dir(), DIRECTORY, 0o755).and_then(|()| sys::fs::chmodat(store.dir(), DIRECTORY, 0o755));
    make().doing(|| "cannot make the directory of the notification socket".to_owned())
}

/// The container's socket, heard by this process.
#[derive(Debug)]
pub struct Relay {
    socket: OwnedFd,
    manager: OsString,
}

impl Relay {
    /// Begins to listen, if a service manager wants to know and the container was made for it.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(store: &Store) -> Result<Option<Relay>> {
        let Some(manager) = of_caller() else { return Ok(None) };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = match sys::fs::openat(store.dir(), DIRECTORY, flags, 0) {
            Err(sys::Error { errno: Errno::ENOENT, .. }) => return Ok(None),
            other => other?,
        };
        let bind = || {
            let socket = socket::bind_datagram_at(&directory, SOCKET)?;
            sys::fs::chmodat(&directory, SOCKET, 0o777)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error: sys::Error| error).doing(|| "cannot make the notification socket".to_owned())?;
        Ok(Some(Relay { socket, manager }))
    }

    /// Waits until the container says that it is ready, or its process has ended, and passes it on: with `main` as the service's main process, where that
    /// is not this one.
    ///
    /// # Errors
    /// The call that failed; the service manager cannot be reached.
    pub fn wait(&self, process: &OwnedFd, main: Option<i32>) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
            }
            let ended = fds[1].any().unwrap_or(false);
            while let Some(message) = socket::receive_datagram(&self.socket)? {
                if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                    return self.ready(main);
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn ready(&self, main: Option<i32>) -> Result<()> {
        let main = main.map_or_else(String::new, |pid| format!("MAINPID={pid}\n"));
        let tell = |message: &str, file: Option<&OwnedFd>| {
            let files: Vec<_> = file.iter().map(|file| file.as_raw_fd()).collect();
            socket::send_datagram_to(&self.manager, message.as_bytes(), &files)
        };
        tell(&format!("{main}READY=1"), None).doing(|| "cannot tell the service manager that the container is ready".to_owned())?;
        // The other end is closed when the manager has read this, and so all before it (sd_notify_barrier(3)).
        let (read, write) = std::io::pipe().map_err(|error| sys::Error::bare("pipe", sys::fs::errno(&error)))?;
        if tell("BARRIER=1", Some(&OwnedFd::from(write))).is_ok() {
            let mut fds = [PollFd::new(read.as_fd(), PollFlags::empty())];
            let _ = poll(&mut fds, PollTimeout::from(BARRIER_MS));
        }
        Ok(())
    }
}
