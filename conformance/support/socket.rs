//! The receiving end of a console socket.

use super::{eventually, patience};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub struct Console {
    pub path: PathBuf,
    listener: UnixListener,
}

/// What came over the socket in one message.
pub struct Message {
    pub bytes: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Console {
    pub fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("console socket");
        listener.set_nonblocking(true).expect("nonblocking");
        Self { path: path.to_owned(), listener }
    }

    /// The one message of the runtime, and the number of further bytes that came after it.
    pub fn receive(&self) -> (Message, usize) {
        let stream = eventually("the runtime connects to the console socket", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(patience())).expect("timeout");
        let mut bytes = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &stream, &mut rest);
        (Message { bytes: bytes[..got.bytes].to_vec(), fds }, rest.len())
    }

    /// Whether nobody has connected.
    pub fn untouched(&self) -> bool {
        self.listener.accept().is_err()
    }
}
