//! What a foreground command does while its process runs: passes on signals, and carries bytes between its own terminal and the container's.

use crate::error::Result;
use crate::sys::process::{Child, Exit, pidfd_send_signal, wait};
use crate::sys::{self, Errno};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The signals of this process, blocked and read from a descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal that can be passed on. Before the container's process exists, so that none is lost.
    ///
    /// # Errors
    /// The errno of `sigprocmask(2)` or `signalfd(2)`.
    pub fn block() -> Result<Signals> {
        // A fault of this process's own ends it all the same: the kernel unblocks what it forces (signal(7)). That a child has ended its pidfd says.
        let mut set = SigSet::all();
        set.remove(Signal::SIGCHLD);
        set.thread_block().map_err(|e| sys::Error::bare("sigprocmask", e))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Signals(fd.map_err(|e| sys::Error::bare("signalfd", e))?))
    }

    /// The signals that others have sent. SIGPIPE may be of this process's own writing.
    fn take(&self) -> impl Iterator<Item = i32> {
        let all = std::iter::from_fn(|| self.0.read_signal().ok().flatten());
        all.filter(|info| info.ssi_pid != std::process::id()).map(|info| info.ssi_signo.cast_signed())
    }
}

/// Attends to a child until it ends.
///
/// # Errors
/// The errno of a call. The terminal of this process is as it was, whatever happens.
pub fn attend(child: &Child, mut carrier: Option<Carrier>, signals: &Signals) -> Result<Exit> {
    loop {
        let ready = wait_for(child, signals, carrier.as_ref())?;
        if ready.signal {
            for signal in signals.take() {
                pass_on(child, signal, carrier.as_ref())?;
            }
        }
        if let Some(carrier) = &mut carrier {
            carrier.carry(&ready);
        }
        if ready.ended {
            if let Some(carrier) = &mut carrier {
                carrier.drain();
            }
            return Ok(wait(&child.pidfd)?);
        }
    }
}

/// What can be done now.
struct Ready {
    ended: bool,
    signal: bool,
    input: bool,
    output: bool,
    takes: bool,
}

fn wait_for(child: &Child, signals: &Signals, carrier: Option<&Carrier>) -> Result<Ready> {
    let stdin = std::io::stdin();
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![watch(child.pidfd.as_fd()), watch(signals.0.as_fd())];
    let mut places = (None, None, None);
    if let Some(carrier) = carrier {
        if carrier.output_open {
            places.1 = Some(fds.len());
            fds.push(watch(carrier.master.as_fd()));
        }
        if !carrier.pending.is_empty() {
            places.2 = Some(fds.len());
            fds.push(PollFd::new(carrier.master.as_fd(), PollFlags::POLLOUT));
        } else if carrier.input_open {
            places.0 = Some(fds.len());
            fds.push(watch(stdin.as_fd()));
        }
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Ready { ended: false, signal: false, input: false, output: false, takes: false }),
        Err(errno) => return Err(sys::Error::bare("poll", errno).into()),
    }
    let any = |place: Option<usize>| place.is_some_and(|i| fds[i].any().unwrap_or(false));
    Ok(Ready { ended: any(Some(0)), signal: any(Some(1)), input: any(places.0), output: any(places.1), takes: any(places.2) })
}

fn pass_on(child: &Child, signal: i32, carrier: Option<&Carrier>) -> Result<()> {
    match (signal, carrier) {
        (libc::SIGWINCH, Some(carrier)) => {
            carrier.resize();
            Ok(())
        }
        _ => match pidfd_send_signal(&child.pidfd, signal) {
            // It has ended, which is noticed next.
            Ok(()) | Err(sys::Error { errno: Errno::ESRCH, .. }) => Ok(()),
            Err(other) => Err(other.into()),
        },
    }
}

/// Carries bytes between standard input and output and a terminal's master.
#[derive(Debug)]
pub struct Carrier {
    master: File,
    before: Option<Termios>,
    input_open: bool,
    output_open: bool,
    /// What the terminal has not taken yet: as long as there is any, no more is read.
    pending: Vec<u8>,
}

/// The kernel keeps less than that of what was written to a terminal (`TTYB_DEFAULT_MEM_LIMIT`): what comes after it is written later.
const KEPT_MAX: usize = 128 << 10;
/// So much is carried at once.
const PIECE: usize = 16 << 10;
/// Control-D, as the user would type it.
const END: u8 = 4;

impl Carrier {
    /// Makes this process's own terminal raw, if it has one, and gives its size to the container's.
    ///
    /// # Errors
    /// The errno of `tcsetattr(3)`.
    pub fn new(master: OwnedFd) -> Result<Carrier> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(|e| sys::Error::bare("tcsetattr", e))?;
        }
        let carrier = Carrier { master: File::from(master), before, input_open: true, output_open: true, pending: Vec::new() };
        carrier.resize();
        // A process that does not read what it is sent, but waits for what it wrote to be read, must not be waited for in turn.
        sys::fs::set_nonblocking(&carrier.master)?;
        Ok(carrier)
    }

    /// Gives the container's terminal the size of this process's.
    fn resize(&self) {
        if let Some(size) = sys::term::size(std::io::stdin()) {
            sys::term::set_size(&self.master, size);
        }
    }

    fn carry(&mut self, ready: &Ready) {
        if ready.output {
            self.output_open = self.copy_out().is_some();
        }
        if ready.input {
            let mut buffer = [0; PIECE];
            let n = std::io::stdin().read(&mut buffer).unwrap_or(0);
            self.input_open = n > 0;
            self.pending.extend(if n > 0 { &buffer[..n] } else { &[END] });
        }
        if ready.input || ready.takes {
            match self.master.write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => (self.input_open, self.pending) = (false, Vec::new()),
            }
        }
    }

    /// Copies what is there: how much. `None` where there will be no more: a terminal whose last process has ended answers EIO.
    fn copy_out(&mut self) -> Option<usize> {
        let mut buffer = [0; PIECE];
        let n = match self.master.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(0),
            Err(_) => 0,
        };
        let mut out = std::io::stdout();
        (n > 0 && out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_ok()).then_some(n)
    }

    /// What the process wrote before it ended is still in the terminal. (Others may go on writing to it.)
    fn drain(&mut self) {
        let mut drained = 0;
        while self.output_open && drained < KEPT_MAX && readable(self.master.as_fd()) {
            match self.copy_out() {
                Some(n) => drained += n,
                None => self.output_open = false,
            }
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn readable(file: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
}
