//! A cgroup that systemd makes: where it is, and its making.

use super::mounts::Own;
use super::place::{mounted, read};
use super::systemd::Unit;
use super::{Cgroup, Hierarchy, Limits, Member, Place, Version, create, dir::Dir};
use crate::error::{Doing, Error, Result};
use crate::host::{Cgroups, Host};
use crate::sys::idle::Idle;
use std::path::Path;

impl Place {
    /// Where the cgroup of a unit will be, as far as that can be told before.
    pub(super) fn of_unit(unit: Unit, host: &Host) -> Result<Place> {
        let all = mounted(host.cgroups)?;
        let own = if unit.user { Own::parse(&read("/proc/self/cgroup")?) } else { Own::default() };
        let hierarchies = all.into_iter().map(|mounted| {
            // The user's manager is a service, and this process is most likely one of its.
            let own = own.within(&mounted).unwrap_or_default();
            let manager = own.split_inclusive('/').take_while(|part| !part.starts_with("user@")).map(str::len).sum::<usize>();
            let manager = own[manager..].split('/').next().map_or("", |service| &own[..manager + service.len()]);
            let path = format!("{}{}{}", if manager.len() == own.len() { "" } else { manager }, unit.path(), unit.below());
            Hierarchy {
                version: mounted.version,
                controllers: mounted.controllers,
                mount: mounted.mount,
                path,
                ours: true,
                delegated: None,
            }
        });
        let hierarchies: Vec<Hierarchy> = hierarchies.collect();
        if hierarchies.is_empty() {
            return Err(Error::Other("cannot make a cgroup: no cgroup file system is mounted below /sys/fs/cgroup".to_owned()));
        }
        Ok(Place { hierarchies, optional: false, unit: Some(unit) })
    }
}

impl Cgroup {
    /// Makes the cgroup ([`Cgroup::create`]), or has systemd make it, with those of these limits that systemd has words for; on hierarchies that
    /// systemd leaves alone it is made beside. `place` says then where it is, and whether there is a unit to remove, also where it fails.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or does not succeed; as of [`Cgroup::create`].
    pub fn create_with(place: &mut Place, limits: &Limits) -> Result<Cgroup> {
        let Some(unit) = &mut place.unit else { return Cgroup::create(place) };
        let holder = Idle::start(0)?;
        let v1 = place.hierarchies.iter().any(|hierarchy| hierarchy.has("devices"));
        unit.start(holder.pid(), &limits.properties(), limits.device_rules().filter(|_| v1))?;
        let unit = unit.clone();
        let mut cgroup = Cgroup { members: open(&unit, place, &holder)?, unit: Some(unit), holder: None };
        cgroup.make_delegated()?;
        cgroup.holder = Some(holder);
        Ok(cgroup)
    }

    /// The container's process is in it: what kept it alive until now may go.
    pub fn release(&mut self) {
        self.holder = None;
    }
}

/// Finds the cgroup by the process that systemd has put there.
fn open(unit: &Unit, place: &mut Place, holder: &Idle) -> Result<Vec<Member>> {
    let unified = matches!(place.hierarchies.as_slice(), [only] if only.mount == Path::new("/sys/fs/cgroup"));
    let all = mounted(if unified { Cgroups::Unified } else { Cgroups::Split })?;
    if !unit.is_slice() {
        let text = read(&format!("/proc/{}/cgroup", holder.pid()))?;
        let own = Own::parse(&text);
        let path = all.iter().filter_map(|mounted| own.within(mounted)).find(|path| path.ends_with(&unit.name));
        let path =
            path.ok_or_else(|| Error::Other(format!("systemd made {}, and its process is in none of its cgroups:\n{text}", unit.name)))?;
        let path = format!("{path}{}", unit.below());
        place.hierarchies.iter_mut().for_each(|hierarchy| hierarchy.path.clone_from(&path));
    }
    place.hierarchies.iter_mut().map(|hierarchy| member(hierarchy, unit, holder, unified)).collect()
}

fn member(hierarchy: &mut Hierarchy, unit: &Unit, holder: &Idle, unified: bool) -> Result<Member> {
    let root = Dir::mount(&hierarchy.mount)?;
    if !unit.subgroup.is_empty() {
        return below(&root, hierarchy, unit, holder).doing(|| format!("cannot make cgroup {:?}", hierarchy.directory()));
    }
    match root.open(hierarchy.relative())? {
        Some(dir) => {
            // systemd hands down those that it knows of, which are not all.
            if hierarchy.version == Version::V2 {
                create::enable_controllers(&root, hierarchy.relative())?;
            }
            Ok(Member { hierarchy: hierarchy.clone(), root, dir, fresh: true })
        }
        // systemd uses one hierarchy to keep track, and of the others those that it knows of.
        None if !unified => create::create_in(hierarchy),
        None => Err(crate::sys::Error::new("open", hierarchy.directory(), crate::sys::Errno::ENOENT).into()),
    }
}

/// The container's cgroup below the scope. What keeps the scope alive moves there: a cgroup that has processes hands no controllers down.
fn below(root: &Dir, hierarchy: &Hierarchy, unit: &Unit, holder: &Idle) -> Result<Member> {
    let relative = hierarchy.relative();
    let scope = relative.len() - unit.subgroup.len();
    for (end, _) in relative.match_indices('/').chain([(relative.len(), "")]).filter(|(end, _)| *end >= scope) {
        root.make(&relative[..end])?;
    }
    let missing = || crate::sys::Error::new("open", hierarchy.directory(), crate::sys::Errno::ENOENT);
    let dir = root.open(relative)?.ok_or_else(missing)?;
    dir.write("cgroup.procs", &holder.pid().to_string()).or_else(|_| unit.attach(holder.pid()))?;
    create::enable_controllers(root, relative)?;
    Ok(Member { hierarchy: hierarchy.clone(), root: Dir::mount(&hierarchy.mount)?, dir, fresh: true })
}
