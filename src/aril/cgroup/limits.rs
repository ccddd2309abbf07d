//! What a configuration asks of the cgroup: resolved to the writes that say it, then applied.

use super::devices::{self, Devices};
use super::knobs::{Asked, KNOBS, Knob, UNLIMITED, Way};
use super::systemd::{self, Property};
use super::text::Text;
use super::{Cgroup, Change, Member, Place, Version, create};
use crate::config::spec::{Linux, LinuxResources};
use crate::config::{Invalid, Pointer};
use crate::error::{Doing, Error, Result};
use crate::host::Host;
use crate::sys::Errno;
use std::os::fd::AsFd;

/// Limits and device rules, as the writes that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub(super) writes: Vec<Write>,
    pub(super) devices: Option<Devices>,
    /// Whether the kernel may refuse device rules.
    lenient: bool,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    at: Pointer,
    /// Of the cgroup that it is written to; empty for the v2 cgroup itself.
    pub(super) controller: String,
    /// File and text: the first that exists is written.
    pub(super) files: Vec<(String, String)>,
    /// Whether it says no more than what is so where no file exists.
    if_there: bool,
    /// A file whose value may not be above this one already.
    usage: Option<(&'static str, u64)>,
}

impl Write {
    /// Whether it limits the number of processes to less than set-up may need: the executor, the one that it forks, and what holds a scope of
    /// systemd's open.
    fn is_few_processes(&self) -> bool {
        self.controller == "pids" && self.files.iter().any(|(_, text)| text.parse::<u32>().is_ok_and(|count| count < 4))
    }
}

impl Limits {
    /// What a configuration asks for, with the device rules that every container has.
    ///
    /// # Errors
    /// A value that cannot be, or that nothing on this host can do: by its pointer.
    pub fn resolve(linux: Option<&Linux>, place: &Place, host: &Host) -> Result<Limits> {
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let writes = match resources {
            Some(resources) => writes(resources, resources, &Pointer::to("/linux/resources"), place)?,
            None => Vec::new(),
        };
        Ok(Limits { writes, devices: None, lenient: false }.with(Devices::resolve(linux)?, place, host)?)
    }

    /// What `update` asks for. Device rules are replaced if it has any, and stay as they are otherwise.
    ///
    /// # Errors
    /// As of [`Limits::resolve`].
    pub fn change(change: &Change, place: &Place, host: &Host) -> Result<Limits> {
        let at = Pointer::default();
        let limits = Limits { writes: writes(&change.asked, &change.whole, &at, place)?, devices: None, lenient: false };
        match change.asked.devices().as_deref().unwrap_or_default() {
            [] => Ok(limits),
            rules => Ok(limits.with(Devices::of(rules, &at.of("devices"))?, place, host)?),
        }
    }

    fn with(mut self, devices: Devices, place: &Place, host: &Host) -> std::result::Result<Limits, Invalid> {
        if place.hierarchies.iter().any(|hierarchy| hierarchy.has("devices")) {
            devices.check_v1()?;
        }
        self.devices = Some(devices);
        // In a user namespace, and without root's privileges, bpf(2) and the devices controller are refused, and so is mknod(2): the container
        // reaches no device but those that its creator's user may open. runc and crun go on without rules as well.
        self.lenient = !host.rootful();
        Ok(self)
    }

    /// What is written besides the device rules, in order: the pointer of the value, and `FILE=TEXT` (`or` between files of which one exists).
    pub fn writes(&self) -> impl Iterator<Item = (&Pointer, String)> {
        self.writes.iter().map(|write| {
            let files: Vec<String> = write.files.iter().map(|(file, text)| format!("{file}={text}")).collect();
            (&write.at, files.join(" or "))
        })
    }

    /// The device rules, in order: `allow c 1:3 rwm`. The last that speaks of a device and a kind of access decides.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.devices.iter().flat_map(Devices::lines).collect()
    }
}

impl Limits {
    /// The limits as properties of a unit of systemd: those that it has words for.
    ///
    /// A limit of so few processes that the unit's own would be too many is left out: [`Cgroup::limit_processes`] sets it.
    pub(super) fn properties(&self) -> Vec<Property> {
        let files = self.writes.iter().filter(|write| !write.is_few_processes()).flat_map(|write| &write.files);
        systemd::properties(files.map(|(file, text)| (file.as_str(), text.as_str())))
    }

    /// The device rules, for a host on which systemd writes them too.
    pub(super) fn device_rules(&self) -> Option<&Devices> {
        self.devices.as_ref()
    }
}

/// The writes for what is asked for, in the order of the table. `whole` is what holds then: some values are told together with others.
fn writes(asked: &LinuxResources, whole: &LinuxResources, at: &Pointer, place: &Place) -> std::result::Result<Vec<Write>, Invalid> {
    let mut writes: Vec<Write> = Vec::new();
    for knob in KNOBS {
        for value in (knob.asked)(asked) {
            let Some(write) = write(knob, &value, whole, at, place)? else { continue };
            // Two values that one file takes together are written once.
            writes.pop_if(|last| last.files == write.files);
            writes.push(write);
        }
    }
    writes.extend(unified(asked, at, place)?);
    Ok(writes)
}

fn write(
    knob: &Knob,
    asked: &Asked,
    resources: &LinuxResources,
    at: &Pointer,
    place: &Place,
) -> std::result::Result<Option<Write>, Invalid> {
    let at = Pointer::to(&format!("{}{}{}", at.as_str(), knob.at, asked.below));
    // Where nothing can limit there is no limit, and where nothing can change a value it has the one that it always has.
    let unlimited = asked.value == UNLIMITED;
    let nature = matches!(knob.v2, Way::Fixed(value, _) if value == asked.value);
    let way = match place.version_of(knob.controller) {
        None if unlimited || nature => return Ok(None),
        Some(Version::V1) => &knob.v1,
        Some(Version::V2) => &knob.v2,
        None if place.hierarchies.is_empty() => return Err(Invalid::new(&at, "the container has no cgroup, which the limit needs")),
        None => return Err(Invalid::new(&at, format!("this host has no {} controller, which the limit needs", knob.controller))),
    };
    let files = match way {
        Way::Files(files) => *files,
        Way::Fixed(value, _) if *value == asked.value => return Ok(None),
        Way::Fixed(_, why) | Way::Lacks(why) => return Err(Invalid::new(&at, *why)),
    };
    let mut written = Vec::new();
    let mut if_there = unlimited;
    for (file, spell) in files {
        match spell(asked, resources) {
            Text::Is(text) => written.push((file.replace("{}", &asked.name), text)),
            Text::IfThere(text) => {
                if_there = true;
                written.push((file.replace("{}", &asked.name), text));
            }
            Text::Nothing => return Ok(None),
            Text::Wrong(why) => return Err(Invalid::new(&at, why)),
        }
    }
    let usage = usage(knob, asked, resources, place);
    Ok(Some(Write { at, controller: knob.controller.to_owned(), files: written, if_there, usage }))
}

/// `checkBeforeUpdate`: a limit of memory below what is used already would have processes killed.
fn usage(knob: &Knob, asked: &Asked, resources: &LinuxResources, place: &Place) -> Option<(&'static str, u64)> {
    let check = resources.memory().as_ref().and_then(|memory| memory.check_before_update()) == Some(true);
    let limit = u64::try_from(asked.value).ok()?;
    let file = if place.version_of("memory") == Some(Version::V1) { "memory.usage_in_bytes" } else { "memory.current" };
    (check && knob.at == "/memory/limit").then_some((file, limit))
}

/// Files of v2 by name. Those that move, stop or kill processes are no limits.
fn unified(resources: &LinuxResources, at: &Pointer, place: &Place) -> std::result::Result<Vec<Write>, Invalid> {
    let mut entries: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    entries.sort();
    let mut writes = Vec::new();
    for (key, value) in entries {
        let at = at.of("unified").of(key);
        let refused = |why: &str| Invalid::new(&at, format!("unified resource {key:?} {why}"));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !key.chars().all(legal) || key.starts_with(['.', '-']) || !key.contains('.') {
            return Err(refused("is no file of a cgroup, such as \"memory.high\""));
        }
        let controller = key.split('.').next().unwrap_or_default();
        if controller == "cgroup" && !matches!(key.as_str(), "cgroup.max.depth" | "cgroup.max.descendants" | "cgroup.pressure") {
            return Err(refused("is no limit"));
        }
        if value.trim().is_empty() || value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(refused("has a value that is empty or has a control character"));
        }
        let controller = if controller == "cgroup" { "" } else { controller };
        if place.hierarchies.is_empty() {
            return Err(refused("cannot be set: the container has no cgroup"));
        }
        if place.v2().is_none() || place.version_of(controller) == Some(Version::V1) {
            return Err(refused("needs cgroup v2, and this host has its controller in cgroup v1"));
        }
        // The kernel reads one line at a time.
        writes.extend(value.lines().filter(|line| !line.trim().is_empty()).map(|line| Write {
            at: at.clone(),
            controller: controller.to_owned(),
            files: vec![(key.clone(), line.to_owned())],
            if_there: false,
            usage: None,
        }));
    }
    Ok(writes)
}

impl Cgroup {
    /// Sets limits and device rules.
    ///
    /// # Errors
    /// The value that could not be set, by its pointer, and why.
    pub fn apply(&self, limits: &Limits) -> Result<()> {
        self.apply_devices(limits)?;
        self.apply_limits(limits)
    }

    /// Sets the device rules. They have to stand before anything of the user's runs, and need not before that.
    ///
    /// # Errors
    /// As of [`Cgroup::apply`].
    pub fn apply_devices(&self, limits: &Limits) -> Result<()> {
        let Some(devices) = &limits.devices else { return Ok(()) };
        match self.set_devices(devices, limits.lenient) {
            Err(error) if limits.lenient && matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES | Errno::EROFS)) => Ok(()),
            result => result.doing_at(devices.at(), || "cannot set the device rules".to_owned()),
        }
    }

    /// Whether the device rules are files of cgroup v1, and not one program that takes the place of another.
    #[must_use]
    pub fn writes_devices(&self) -> bool {
        self.members.iter().any(|member| member.hierarchy.has("devices"))
    }

    /// Sets the limits.
    ///
    /// # Errors
    /// As of [`Cgroup::apply`].
    pub fn apply_limits(&self, limits: &Limits) -> Result<()> {
        self.write_all(limits.writes.iter())
    }

    /// Sets the limits that hold from the first: what set-up uses is on the container's bill.
    ///
    /// # Errors
    /// As of [`Cgroup::apply`].
    pub fn limit_set_up(&self, limits: &Limits) -> Result<()> {
        self.write_all(limits.writes.iter().filter(|write| write.controller != "pids"))
    }

    /// Sets the limits of the number of processes: during set-up there can be one more than the container's own, and where 0 are allowed, none
    /// could be born.
    ///
    /// # Errors
    /// As of [`Cgroup::apply`].
    pub fn limit_processes(&self, limits: &Limits) -> Result<()> {
        self.write_all(limits.writes.iter().filter(|write| write.controller == "pids"))?;
        let files = limits.writes.iter().filter(|write| write.is_few_processes()).flat_map(|write| &write.files);
        match (&self.unit, systemd::properties(files.map(|(file, text)| (file.as_str(), text.as_str())))) {
            (Some(unit), few) if !few.is_empty() => unit.set(&few),
            _ => Ok(()),
        }
    }

    fn write_all<'a>(&self, writes: impl Iterator<Item = &'a Write>) -> Result<()> {
        let mut again = Vec::new();
        for write in writes {
            match self.write(write) {
                // It may be bound to the present value of another, which is about to change.
                Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::EBUSY)) => again.push(write),
                result => result?,
            }
        }
        again.into_iter().try_for_each(|write| self.write(write))
    }

    /// Tells systemd, where it made the cgroup, of limits that were set: it would undo them when it is reloaded.
    ///
    /// # Errors
    /// systemd cannot be reached, or refuses.
    pub fn persist(&self, limits: &Limits) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let mut texts = Vec::new();
        for (file, text) in limits.writes.iter().flat_map(|write| &write.files) {
            // What was written may leave the period, which the quota is of, as it was.
            let whole = (file == "cpu.max").then(|| self.member("cpu").map(|member| member.dir.read(file))).flatten();
            texts.push((file, whole.map_or_else(|| Ok(text.clone()), |whole| whole.map(|text| text.trim().to_owned()))?));
        }
        unit.set(&systemd::properties(texts.iter().map(|(file, text)| (file.as_str(), text.as_str()))))
    }

    pub(super) fn set_devices(&self, devices: &Devices, lenient: bool) -> Result<()> {
        if let Some(member) = self.members.iter().find(|member| member.hierarchy.has("devices")) {
            return if member.fresh { devices::write_v1(&member.dir, devices) } else { devices::replace_v1(&member.dir, devices) };
        }
        match self.v2() {
            Some(member) => Ok(devices::replace(member.dir.as_fd(), devices, member.fresh)?),
            // A place without cgroups was asked for, or is all that may be had.
            None if self.members.is_empty() || lenient => Ok(()),
            None => Err(Error::Other("this host has neither the devices controller nor cgroup v2".to_owned())),
        }
    }

    fn write(&self, write: &Write) -> Result<()> {
        let what = || "cannot set the limit".to_owned();
        let Some(member) = self.member(&write.controller) else {
            let why = "the container has no cgroup on its hierarchy: making one is not permitted";
            return Err(Error::Other(why.to_owned())).doing_at(&write.at, what);
        };
        if let Some((file, limit)) = write.usage {
            let used: u64 = member.dir.read(file)?.trim().parse().unwrap_or(0);
            if used > limit {
                let why = format!("rejecting memory limit {limit}: it is below the current usage of {used} bytes");
                return Err(Invalid::new(&write.at, why).into());
            }
        }
        for (file, text) in &write.files {
            match member.dir.write(file, text) {
                Err(error) if error.errno == Errno::ENOENT => {}
                // The file is there for another policy than the device has: that of the next file.
                Err(error) if error.errno == Errno::EOPNOTSUPP && write.files.last().is_some_and(|(last, _)| last != file) => {}
                Err(error) => {
                    let why = why_refused(file, error.errno);
                    return Err(error).doing_at(&write.at, || format!("{}{why}", what()));
                }
                Ok(()) => return Ok(()),
            }
        }
        if write.if_there { Ok(()) } else { Err(lacking(member, write)).doing_at(&write.at, what) }
    }
}

/// What is behind an errno that does not tell: a clause for the message, or nothing.
fn why_refused(file: &str, errno: Errno) -> &'static str {
    match (file, errno) {
        ("cpu.rt_runtime_us", Errno::EINVAL) => " (the cgroup above it has not so much real-time runtime to give)",
        ("cpuset.cpus" | "cpuset.mems", Errno::EINVAL | Errno::EACCES | Errno::ERANGE | Errno::ENODEV) => {
            " (the cgroup above it, or the machine, has no such CPUs or memory nodes)"
        }
        ("cpuset.cpus" | "cpuset.mems", Errno::EBUSY | Errno::ENOSPC) => {
            " (cgroups below it use others, or processes are left without any)"
        }
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::EBUSY) => " (more is in use, and cannot be reclaimed)",
        _ => "",
    }
}

/// None of the files exists: why. The errno's own text is left out: managers take it for a missing program.
fn lacking(member: &Member, write: &Write) -> Error {
    let why = match member.hierarchy.version {
        Version::V2 if !write.controller.is_empty() => create::why_lacking(member, &write.controller),
        _ => String::new(),
    };
    if !why.is_empty() {
        return Error::Other(why);
    }
    let files: Vec<&str> = write.files.iter().map(|(file, _)| file.as_str()).collect();
    Error::Other(format!("this kernel's cgroups have no {}", files.join(" or ")))
}

#[cfg(test)]
mod tests;
