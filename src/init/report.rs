//! Talking with the host: see `aril_plan::talk`, where the protocol is drawn.
#![allow(unsafe_code)]

use crate::sys::{self, Failure, Result, call, failure, fd};
use aril_plan::talk::{About, DETAIL_MAX, Report};
use linux_raw_sys::errno;
use syscalls::Sysno;

/// The socket to the host: to `create` or `run` first, and to `start` from the gate on.
pub(crate) struct Talk {
    socket: i32,
}

impl Talk {
    pub(crate) const fn new(socket: i32) -> Talk {
        Talk { socket }
    }

    pub(crate) fn socket(&self) -> i32 {
        self.socket
    }

    /// Talks over another socket from now on; the old one is closed.
    pub(crate) fn replace(&mut self, socket: i32) {
        sys::close(self.socket);
        self.socket = socket;
    }

    /// Fills the buffer. An end of stream means that the host is gone: then this process has no reason to be.
    pub(crate) fn read(&self, mut into: &mut [u8]) -> Result<()> {
        // The host's last word comes when it is about to end: what fails once for want of memory is tried again.
        let mut tries = 3;
        while !into.is_empty() {
            match sys::read(self.socket, into) {
                Ok(0) => sys::exit(1),
                Ok(n) => into = &mut into[n..],
                Err(failure) if tries == 0 => return Err(failure),
                Err(_) => tries -= 1,
            }
        }
        Ok(())
    }

    /// Sends a report, with a descriptor beside it where `file` is one.
    fn send(&self, report: Report, detail: &[u8], file: i32) -> Result<()> {
        let head = report.to_bytes();
        let pieces = [Piece { at: head.as_ptr(), len: head.len() }, Piece { at: detail.as_ptr(), len: detail.len() }];
        let control = Control { len: size_of::<usize>() + 12, level: 1, kind: 1, file, padding: 0 };
        let with = file >= 0;
        let message = Message {
            name: 0,
            name_len: 0,
            pieces: pieces.as_ptr(),
            piece_count: if detail.is_empty() { 1 } else { 2 },
            control: if with { core::ptr::from_ref(&control) as usize } else { 0 },
            control_len: if with { size_of_val(&control) } else { 0 },
            flags: 0,
        };
        // The socket's buffer holds far more than one report, so it is sent whole. MSG_NOSIGNAL: a dead host is an error, not a signal.
        call(Sysno::sendmsg, [fd(self.socket), (&raw const message) as usize, 0x4000, 0, 0, 0]).map(drop)
    }

    /// Reports a failed step. If even that fails nobody is there to hear.
    pub(crate) fn fault(&self, step: u32, Failure { call, errno }: Failure, detail: &[u8]) {
        let detail = &detail[..detail.len().min(DETAIL_MAX)];
        let len = u32::try_from(detail.len()).unwrap_or(0);
        let report = Report { about: About::Fault, step, call: call as u32, value: errno.cast_signed(), detail: len };
        let _ = self.send(report, detail, -1);
    }

    /// Tells the host the pid and pidfd of the container's first process.
    pub(crate) fn forked(&self, step: u32, pid: usize, pidfd: i32) -> Result<()> {
        self.send(Report { about: About::Forked, step, call: 0, value: sys::int(pid), detail: 0 }, &[], pidfd)
    }

    /// Tells the host that nothing is left but to become the program.
    pub(crate) fn leaving(&self, step: u32) -> Result<()> {
        self.send(Report { about: About::Leaving, step, call: 0, value: 0, detail: 0 }, &[], -1)
    }

    /// Has the host do the step (with a descriptor of ours, where it needs one) and waits for its answer.
    pub(crate) fn ask(&self, about: About, step: u32, file: i32) -> Result<&'static [u8]> {
        self.send(Report { about, step, call: 0, value: 0, detail: 0 }, &[], file)?;
        self.answer()
    }

    /// Has the host do the step, and goes on: the answers are read by later steps.
    pub(crate) fn ask_ahead(&self, step: u32) -> Result<()> {
        self.send(Report { about: About::Ask, step, call: 0, value: 0, detail: 0 }, &[], -1)
    }

    /// Reads an answer that is empty, and the descriptor beside it.
    pub(crate) fn receive_file(&self) -> Result<i32> {
        let mut len = [0_u8; 4];
        let piece = Piece { at: len.as_mut_ptr(), len: len.len() };
        let mut control = Control { len: 0, level: 0, kind: 0, file: -1, padding: 0 };
        let mut message = Message {
            name: 0,
            name_len: 0,
            pieces: &raw const piece,
            piece_count: 1,
            control: (&raw mut control) as usize,
            control_len: size_of::<Control>(),
            flags: 0,
        };
        const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
        match call(Sysno::recvmsg, [fd(self.socket), (&raw mut message) as usize, MSG_CMSG_CLOEXEC, 0, 0, 0])? {
            0 => sys::exit(1),
            n if n == len.len() && control.file >= 0 => Ok(control.file),
            _ => Err(failure(Sysno::recvmsg, errno::EPROTO)),
        }
    }

    /// Reads an answer.
    pub(crate) fn answer(&self) -> Result<&'static [u8]> {
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len == 0 {
            return Ok(&[]);
        }
        let answer = sys::allocate(len)?;
        self.read(answer)?;
        Ok(answer)
    }
}

/// `struct iovec`
#[repr(C)]
struct Piece {
    at: *const u8,
    len: usize,
}

/// `struct cmsghdr` with one descriptor (`SOL_SOCKET`, `SCM_RIGHTS`)
#[repr(C)]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    file: i32,
    padding: u32,
}

/// `struct msghdr`, of the kernel's `user_msghdr`
#[repr(C)]
struct Message {
    name: usize,
    name_len: i32,
    pieces: *const Piece,
    piece_count: usize,
    control: usize,
    control_len: usize,
    flags: u32,
}
