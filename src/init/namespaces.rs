//! The container's first process, where it is not the one that the host started.

use crate::fork;
use crate::report::Talk;
use crate::sys::{self, Result, call, fd};
use linux_raw_sys::{general, prctl};
use syscalls::Sysno;

/// The child goes on as the container's first process, a child of the host (`CLONE_PARENT`); this process tells the host and ends.
///
/// The pid that `clone3(2)` returns here is the host's: this process is still in the host's pid namespace, only its children are not.
pub(crate) fn fork(talk: &Talk, step: u32, shares: bool) -> Result<()> {
    if shares {
        fork::sharing(leave, [fd(talk.socket()), step as usize])?;
    } else {
        let (pid, pidfd) = sys::fork(general::CLONE_PARENT, 0)?;
        if pid > 0 {
            leave([fd(talk.socket()), step as usize], pid, pidfd);
        }
    }
    // A fork begins without these.
    sys::prctl(prctl::PR_SET_PDEATHSIG, general::SIGKILL as usize)?;
    sys::call(Sysno::setsid, [0; 6])?;
    // Goes on when the host has seen who this is; if the host is dead this process ends here.
    talk.answer().map(drop)
}

/// The end of the parent.
fn leave([socket, step]: [usize; 2], pid: usize, pidfd: i32) -> ! {
    let step = u32::try_from(step).unwrap_or(0);
    let talk = Talk::new(sys::int(socket));
    match talk.forked(step, pid, pidfd) {
        Ok(()) => sys::exit(0),
        Err(failure) => {
            talk.fault(step, failure, &[]);
            sys::exit(1)
        }
    }
}

/// Joins the network namespace whose descriptor the host sends without being asked.
pub(crate) fn network(talk: &Talk) -> Result<()> {
    let namespace = talk.receive_file()?;
    let joined = call(Sysno::setns, [fd(namespace), general::CLONE_NEWNET as usize, 0, 0, 0, 0]).map(drop);
    sys::close(namespace);
    joined
}
