//! Removing the cgroup.

use super::dir::Dir;
use super::{Cgroup, Member, Place, Version, devices};
use crate::error::{Doing, Result};
use crate::sys::{self, Errno};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a cgroup may answer EBUSY after its last process has gone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Removes it from every hierarchy where it is `ours`, with the cgroups below it, and kills what is in it. From a cgroup that was there before
    /// nothing but the device program is taken. What is gone already is no error, so that a removal that was interrupted is repeated.
    ///
    /// # Errors
    /// The call that failed; something that lives on after SIGKILL, or a cgroup that stays busy: nothing is passed over in silence.
    pub fn remove(self) -> Result<()> {
        let (ours, others): (Vec<Member>, Vec<Member>) = self.members.into_iter().partition(|member| member.hierarchy.ours);
        let others_left = others.iter().filter(|member| member.hierarchy.version == Version::V2).try_for_each(leave);
        let ours = Cgroup { members: ours, unit: None, holder: None };
        if ours.members.iter().any(|member| member.remove().is_err()) {
            // Processes or cgroups are in it.
            let failed = || "cannot end the processes of the cgroup".to_owned();
            ours.kill_and_wait().doing(failed)?;
            for member in &ours.members {
                member.remove_all().doing(|| format!("cannot remove cgroup {:?}", member.dir.path()))?;
            }
        }
        others_left
    }
}

impl Place {
    /// Removes what is at this place: [`Cgroup::open`] and [`Cgroup::remove`]; systemd's unit before that.
    ///
    /// # Errors
    /// As of [`Cgroup::remove`].
    pub fn remove(&self) -> Result<()> {
        let cgroup = Cgroup::open(self)?;
        let Some(unit) = self.unit.as_ref().filter(|unit| unit.made) else { return cgroup.map_or(Ok(()), Cgroup::remove) };
        if let Some(cgroup) = &cgroup {
            // Else systemd would ask them to end, and wait.
            cgroup.kill_and_wait().doing(|| "cannot end the processes of the cgroup".to_owned())?;
        }
        let stopped = unit.stop();
        match cgroup.map_or(Ok(()), Cgroup::remove) {
            // Where systemd does not answer it sees by itself that the cgroup is gone.
            Ok(()) => Ok(()),
            Err(left) => stopped.and(Err(left)),
        }
    }
}

/// Takes aril's program off a cgroup that stays.
fn leave(member: &Member) -> Result<()> {
    match devices::detach(member.dir.as_fd()) {
        // Who may not load a program has attached none.
        Err(error) if error.errno == Errno::EPERM => Ok(()),
        result => Ok(result?),
    }
}

impl Member {
    fn remove(&self) -> sys::Result<()> {
        self.root.remove(self.hierarchy.relative())
    }

    /// The deepest first, each again while it is busy: a process that was killed leaves a little later than it dies.
    fn remove_all(&self) -> sys::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            remove_below(&self.dir)?;
            match self.remove() {
                Err(error) if error.errno == Errno::EBUSY && Instant::now() < deadline => std::thread::sleep(pause),
                result => return result,
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn remove_below(dir: &Dir) -> sys::Result<()> {
    dir.walk(
        |_| Ok(true),
        |above, name| match above.remove(name) {
            // The cgroup above stays busy then, and the loop comes again.
            Err(error) if error.errno == Errno::EBUSY => Ok(()),
            result => result,
        },
    )
}
