//! The freezer: stopping the processes of a cgroup, and letting them go on.

use super::processes::{PATIENCE, below, wait_for};
use super::{Cgroup, Member, Place, Version, if_there, keyed};
use crate::error::{Doing, Error, Result};
use std::time::{Duration, Instant};

/// Whether the processes of a cgroup are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// They run.
    No,
    /// It was frozen itself.
    Itself,
    /// One above it was.
    Above,
}

impl Cgroup {
    /// Stops every process in it and below it.
    ///
    /// # Errors
    /// The call that failed; no freezer; something does not freeze within ten seconds (then nothing stays frozen).
    pub fn freeze(&self) -> Result<()> {
        self.freeze_within(PATIENCE)
    }

    pub(super) fn freeze_within(&self, patience: Duration) -> Result<()> {
        let member = self.freezer().ok_or_else(|| lacking("freeze"))?;
        let deadline = Instant::now() + patience;
        let frozen = match member.hierarchy.version {
            Version::V2 => freeze_v2(member, deadline),
            Version::V1 => freeze_v1(member, deadline),
        };
        if frozen.is_err() {
            // The first error counts.
            let _ = self.thaw();
        }
        frozen.doing(|| format!("cannot freeze cgroup {:?}", member.dir.path()))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// The call that failed; no freezer.
    pub fn thaw(&self) -> Result<()> {
        let member = self.freezer().ok_or_else(|| lacking("thaw"))?;
        let (file, text) = match member.hierarchy.version {
            Version::V2 => ("cgroup.freeze", "0"),
            Version::V1 => ("freezer.state", "THAWED"),
        };
        if_there(member.dir.write(file, text)).doing(|| format!("cannot thaw cgroup {:?}", member.dir.path()))
    }

    /// Whether it was frozen (itself, not one above it); false where there is no freezer.
    ///
    /// # Errors
    /// The call that failed.
    pub fn is_frozen(&self) -> Result<bool> {
        let Some(member) = self.freezer() else { return Ok(false) };
        let file = match member.hierarchy.version {
            Version::V2 => "cgroup.freeze",
            Version::V1 => "freezer.self_freezing",
        };
        Ok(if_there(member.dir.read(file))?.trim() == "1")
    }

    /// Whether its processes stand still, and by whose doing.
    ///
    /// # Errors
    /// The call that failed.
    pub fn frozen(&self) -> Result<Frozen> {
        if self.is_frozen()? {
            return Ok(Frozen::Itself);
        }
        let Some(member) = self.freezer() else { return Ok(Frozen::No) };
        let read = |file| if_there(member.dir.read(file));
        let above = match member.hierarchy.version {
            Version::V2 => keyed(&read("cgroup.events")?, "frozen") == Some(1),
            Version::V1 => read("freezer.parent_freezing")?.trim() == "1",
        };
        Ok(if above { Frozen::Above } else { Frozen::No })
    }

    /// The v1 controller where there is one, else cgroup v2.
    pub(super) fn freezer(&self) -> Option<&Member> {
        self.member("freezer")
    }
}

impl Place {
    /// The cgroup as far as it takes to freeze it: on the hierarchy that has the freezer, and no other. `None` where there is no such cgroup.
    ///
    /// # Errors
    /// The call that failed.
    pub fn freezer(&self) -> Result<Option<Cgroup>> {
        let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.has("freezer")).or_else(|| self.v2());
        Cgroup::open(&Place { hierarchies: hierarchy.cloned().into_iter().collect(), optional: self.optional, unit: self.unit.clone() })
    }
}

fn lacking(what: &str) -> Error {
    Error::Other(format!("cannot {what}: this host has neither the freezer controller nor cgroup v2"))
}

/// The kernel wakes whoever polls `cgroup.events`.
fn freeze_v2(member: &Member, deadline: Instant) -> Result<()> {
    member.dir.write("cgroup.freeze", "1")?;
    wait_for(member, "frozen", 1, deadline)
}

/// v1 tells nobody when it is done, and asks for the state to be written again where a process got in between.
fn freeze_v1(member: &Member, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        member.dir.write("freezer.state", "FROZEN")?;
        if member.dir.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids = below(&member.dir)?;
            return Err(Error::Other(format!("freezer.state does not become FROZEN: processes {pids:?}")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
