//! Unix sockets and the descriptors that travel over them.

use super::{Errno, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg, sockopt,
};
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A pair of connected stream sockets.
///
/// # Errors
/// The errno of `socketpair(2)`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|e| Error::bare("socketpair", e))
}

fn stream() -> Result<OwnedFd> {
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(|e| Error::bare("socket", e))
}

/// A stream socket that is bound to a name in a directory, and does not listen yet. By way of `/proc/self/fd` no path is too long.
///
/// # Errors
/// The errno of `socket(2)` or `bind(2)`.
pub fn bind_at(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let socket = stream()?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    let address = UnixAddr::new(Path::new(&path)).map_err(|e| Error::new("bind", name, e))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address).map_err(|e| Error::new("bind", name, e))?;
    Ok(socket)
}

/// A datagram socket that is bound to a name in a directory, in the place of one that was there.
///
/// # Errors
/// The errno of `socket(2)` or `bind(2)`.
pub fn bind_datagram_at(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let _ = super::fs::unlinkat(&dir, name);
    let socket = datagram()?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    let address = UnixAddr::new(Path::new(&path)).map_err(|e| Error::new("bind", name, e))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address).map_err(|e| Error::new("bind", name, e))?;
    Ok(socket)
}

fn datagram() -> Result<OwnedFd> {
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(|e| Error::bare("socket", e))
}

/// A datagram that has come, up to 4096 bytes of it, if there is one. Descriptors that came with it are dropped.
///
/// # Errors
/// The errno of `recv(2)`.
pub fn receive_datagram(socket: impl AsFd) -> Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; 4096];
    match nix::sys::socket::recv(socket.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(len) => {
            bytes.truncate(len);
            Ok(Some(bytes))
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(e) => Err(Error::bare("recv", e)),
    }
}

/// Sends one datagram, with descriptors, to a socket by its path, or by its name where that begins with `@` (unix(7), "abstract").
///
/// # Errors
/// The errno of `socket(2)` or `sendmsg(2)`.
pub fn send_datagram_to(address: &OsStr, bytes: &[u8], files: &[RawFd]) -> Result<()> {
    let failed = |e| Error::new("sendmsg to", address, e);
    let to = match address.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        _ => UnixAddr::new(Path::new(address)),
    };
    let (to, socket) = (to.map_err(failed)?, datagram()?);
    let rights = [ControlMessage::ScmRights(files)];
    let control = if files.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, Some(&to)).map(drop).map_err(failed)
}

/// Connects to a socket that is bound to a name in a directory.
///
/// # Errors
/// The errno of `socket(2)` or `connect(2)`: `ECONNREFUSED` where nobody listens (any more).
pub fn connect_at(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    connect_to(Path::new(&path), name)
}

/// Connects to a socket by its path, whatever its length.
///
/// # Errors
/// The errno of `open(2)`, `socket(2)` or `connect(2)`.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    if path.as_os_str().len() < 108 {
        return connect_to(path, path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(Error::new("connect", path, Errno::ENAMETOOLONG));
    };
    connect_at(super::fs::open(parent, nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY, 0)?, name)
}

fn connect_to(path: &Path, object: impl std::fmt::Debug) -> Result<OwnedFd> {
    let socket = stream()?;
    let failed = |e| Error::new("connect", &object, e);
    let address = UnixAddr::new(path).map_err(failed)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address).map_err(failed)?;
    Ok(socket)
}

/// The process that listens at, or made, the other end.
///
/// # Errors
/// The errno of `getsockopt(2)`.
pub fn peer_pid(socket: impl AsFd) -> Result<i32> {
    let credentials =
        nix::sys::socket::getsockopt(&socket.as_fd(), sockopt::PeerCredentials).map_err(|e| Error::bare("getsockopt SO_PEERCRED", e))?;
    Ok(credentials.pid())
}

/// Sends all bytes; the descriptors go with the first of them.
///
/// # Errors
/// The errno of `sendmsg(2)`: `EPIPE` where the other side is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], files: &[RawFd]) -> Result<()> {
    let mut rest = bytes;
    let mut files = files;
    while !rest.is_empty() {
        let rights = [ControlMessage::ScmRights(files)];
        let control = if files.is_empty() { &rights[..0] } else { &rights[..] };
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(rest)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(n) => {
                rest = &rest[n..];
                files = &[];
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::bare("sendmsg", e)),
        }
    }
    Ok(())
}

/// Waits until there is something to read, or a process has ended: whether there is something to read, an end of stream included.
///
/// # Errors
/// The errno of `poll(2)`.
pub fn has_word(socket: impl AsFd, process: impl AsFd) -> Result<bool> {
    let mut files = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    look(&mut files, PollTimeout::NONE)?;
    // Its last word may have come after the socket was looked at.
    look(&mut files[..1], PollTimeout::ZERO)
}

/// Whether there is something to read from the first of these, when there is from any.
fn look(files: &mut [PollFd<'_>], patience: PollTimeout) -> Result<bool> {
    loop {
        match poll(files, patience) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::bare("poll", e)),
            Ok(_) => return Ok(files.first().and_then(PollFd::any).unwrap_or(false)),
        }
    }
}

/// Fills the buffer. Descriptors that come with the bytes are handed over; more than one, or a truncated list, is an error.
///
/// # Errors
/// The errno of `recvmsg(2)`; `ECONNRESET` at an end of stream amid the bytes, `EPROTO` for descriptors that nobody asked for.
/// `Ok(None)` is an end of stream before the first byte.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<Option<OwnedFd>>> {
    let failed = |e| Error::bare("recvmsg", e);
    let mut file = None;
    let mut filled = 0;
    while filled < buffer.len() {
        let mut control = nix::cmsg_space!([RawFd; 2]);
        let mut pieces = [IoSliceMut::new(&mut buffer[filled..])];
        let message = match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => message,
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(failed(e)),
        };
        for received in message.cmsgs().map_err(|_| failed(Errno::EPROTO))? {
            if let ControlMessageOwned::ScmRights(files) = received {
                for fd in files {
                    // SAFETY: the kernel just installed this descriptor, and nobody else knows of it.
                    let new = unsafe { OwnedFd::from_raw_fd(fd) };
                    if file.replace(new).is_some() {
                        return Err(failed(Errno::EPROTO));
                    }
                }
            }
        }
        match message.bytes {
            0 if filled == 0 => return Ok(None),
            0 => return Err(failed(Errno::ECONNRESET)),
            n => filled += n,
        }
    }
    Ok(Some(file))
}
