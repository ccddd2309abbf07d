//! Making the cgroup.

use super::dir::Dir;
use super::{Cgroup, Hierarchy, Member, Place, Version, keyed};
use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno};
use nix::fcntl::AtFlags;
use nix::unistd::AccessFlags;
use std::collections::BTreeSet;

/// The controllers that every container is given where the cgroup above has them, for its limits and for the figures that managers read.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "pids", "rdma"];

/// How often cgroups above are made anew that somebody else removes at the same time.
const TRIES: u32 = 16;

impl Cgroup {
    /// Makes the cgroup on every hierarchy, or takes one that exists and is empty. A hierarchy without which the container can do, and which may not
    /// be written, is taken out of `place`.
    ///
    /// # Errors
    /// The call that failed; a cgroup that exists has processes or is frozen. What was made until then stays: [`Cgroup::open`] and
    /// [`Cgroup::remove`] take it away.
    pub fn create(place: &mut Place) -> Result<Cgroup> {
        let mut members = Vec::new();
        let mut index = 0;
        while index < place.hierarchies.len() {
            let hierarchy = &mut place.hierarchies[index];
            let made = create_in(hierarchy).doing(|| format!("cannot make cgroup {:?}", hierarchy.directory()));
            match made {
                Ok(member) => members.push(member),
                Err(error) if place.optional && matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
                    place.hierarchies.remove(index);
                    continue;
                }
                Err(error) => return Err(error),
            }
            index += 1;
        }
        let cgroup = Cgroup { members, unit: None, holder: None };
        cgroup.make_delegated().map(|()| cgroup)
    }
}

impl Place {
    /// Why the cgroup could not be made, as far as that can be told without making it.
    #[must_use]
    pub fn check(&self) -> Vec<Error> {
        let checked = self.hierarchies.iter().map(|it| check_in(it).doing(|| format!("cannot make cgroup {:?}", it.directory())));
        let refused = checked.filter_map(Result::err);
        refused.filter(|error| !(self.optional && matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)))).collect()
    }
}

fn check_in(hierarchy: &Hierarchy) -> Result<()> {
    let root = Dir::mount(&hierarchy.mount)?;
    if let Some(dir) = root.open(hierarchy.relative())? {
        return refuse_used(&dir, hierarchy);
    }
    // It is made in the nearest one above it that exists.
    let mut above = hierarchy.relative();
    while let Some((parent, _)) = above.rsplit_once('/') {
        above = parent;
        if let Some(dir) = root.open(above)? {
            refuse_frozen(&dir, hierarchy)?;
            return writable(&dir);
        }
    }
    writable(&root)
}

fn writable(dir: &Dir) -> Result<()> {
    let access = nix::unistd::faccessat(nix::fcntl::AT_FDCWD, dir.path(), AccessFlags::W_OK, AtFlags::AT_EACCESS);
    access.map_err(|errno| explained(sys::Error::new("mkdir in", dir.path(), errno)))
}

pub(super) fn create_in(hierarchy: &mut Hierarchy) -> Result<Member> {
    let root = Dir::mount(&hierarchy.mount)?;
    if hierarchy.ours {
        make(&root, hierarchy)?;
    }
    // One that existed when the place was resolved is not made anew if it has gone: the record says that it is not to be removed.
    let missing = || sys::Error::new("open", hierarchy.directory(), Errno::ENOENT);
    let dir = root.open(hierarchy.relative())?.ok_or_else(missing)?;
    if !hierarchy.ours {
        refuse_used(&dir, hierarchy)?;
    }
    match hierarchy.version {
        Version::V1 if hierarchy.has("cpuset") => inherit_cpuset(&root, &dir, hierarchy)?,
        Version::V1 => {}
        Version::V2 => enable_controllers(&root, hierarchy.relative())?,
    }
    Ok(Member { hierarchy: hierarchy.clone(), root, dir, fresh: hierarchy.ours })
}

fn refuse_used(dir: &Dir, hierarchy: &Hierarchy) -> Result<()> {
    let processes = super::processes::below(dir)?.len();
    if processes != 0 {
        return Err(Error::Other(format!("container's cgroup is not empty: {processes} process(es) found")));
    }
    refuse_frozen(dir, hierarchy)
}

/// A process that is put into a frozen cgroup never runs.
fn refuse_frozen(dir: &Dir, hierarchy: &Hierarchy) -> Result<()> {
    let frozen = match hierarchy.version {
        Version::V2 => keyed(&super::if_there(dir.read("cgroup.events"))?, "frozen") == Some(1),
        Version::V1 if hierarchy.has("freezer") => !matches!(super::if_there(dir.read("freezer.state"))?.trim(), "THAWED" | ""),
        Version::V1 => false,
    };
    if frozen { Err(Error::Other(format!("container's cgroup unexpectedly frozen: {:?}", dir.path()))) } else { Ok(()) }
}

fn make(root: &Dir, hierarchy: &mut Hierarchy) -> Result<()> {
    let relative = hierarchy.relative().to_owned();
    let parent = relative.rsplit_once('/').map(|(parent, _)| parent);
    for _ in 0..TRIES {
        match root.make(&relative) {
            Ok(true) => {
                let above = parent.map_or(Ok(None), |parent| root.open(parent))?;
                return above.map_or(Ok(()), |above| refuse_frozen(&above, hierarchy));
            }
            Ok(false) => {
                hierarchy.ours = false;
                return Err(Error::Other("another process made it at the same time".to_owned()));
            }
            Err(error) if error.errno == Errno::ENOENT && parent.is_some() => make_parents(root, parent.unwrap_or_default())?,
            Err(error) => return Err(explained(error)),
        }
    }
    Err(sys::Error::new("mkdir", hierarchy.directory(), Errno::ENOENT).into())
}

fn make_parents(root: &Dir, parent: &str) -> Result<()> {
    for (end, _) in parent.match_indices('/').chain([(parent.len(), "")]) {
        match root.make(&parent[..end]) {
            // Somebody removed one above it: the caller begins again.
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            Err(error) => return Err(explained(error)),
            Ok(_) => {}
        }
    }
    Ok(())
}

fn explained(error: sys::Error) -> Error {
    let hint = match error.errno {
        Errno::EAGAIN => "the cgroup.max.descendants or cgroup.max.depth of a cgroup above it is reached",
        Errno::EROFS => "the cgroup file system is mounted read-only",
        _ => return error.into(),
    };
    Err::<(), _>(error).doing(|| hint.to_owned()).map_or_else(|e| e, |()| Error::Other(hint.to_owned()))
}

/// A cpuset of v1 begins without CPUs and without memory nodes, and takes no process so: each level gets what the one above it has.
fn inherit_cpuset(root: &Dir, dir: &Dir, hierarchy: &Hierarchy) -> Result<()> {
    let (relative, mut above) = (hierarchy.relative(), None);
    let inherit = |dir: &Dir, above: Option<&Dir>, fresh: bool| {
        ["cpuset.cpus", "cpuset.mems"].into_iter().try_for_each(|file| {
            if !fresh && !dir.read(file)?.trim().is_empty() {
                return Ok(());
            }
            dir.write(file, above.unwrap_or(root).read(file)?.trim())
        })
    };
    for (end, _) in relative.match_indices('/') {
        let missing = || sys::Error::new("open", root.path().join(&relative[..end]), Errno::ENOENT);
        let level = root.open(&relative[..end])?.ok_or_else(missing)?;
        inherit(&level, above.as_ref(), false)?;
        above = Some(level);
    }
    Ok(inherit(dir, above.as_ref(), hierarchy.ours)?)
}

/// Hands the controllers down to the cgroup, as far as they can be had: what a limit lacks then, applying the limit explains.
pub(super) fn enable_controllers(root: &Dir, relative: &str) -> Result<()> {
    let wanted = controllers(root, "cgroup.controllers")?;
    let parent = relative.rsplit_once('/').map(|(parent, _)| parent);
    let have = match parent {
        None => controllers(root, "cgroup.subtree_control")?,
        Some(parent) => root.open(parent)?.map_or(Ok(BTreeSet::new()), |dir| controllers(&dir, "cgroup.subtree_control"))?,
    };
    if wanted.is_subset(&have) {
        return Ok(());
    }
    enable_in(root)?;
    for (end, _) in parent.map(|parent| parent.match_indices('/').chain([(parent.len(), "")])).into_iter().flatten() {
        if let Some(dir) = root.open(&relative[..end])? {
            enable_in(&dir)?;
        }
    }
    Ok(())
}

fn enable_in(dir: &Dir) -> Result<()> {
    let missing: Vec<String> = controllers(dir, "cgroup.controllers")?
        .difference(&controllers(dir, "cgroup.subtree_control")?)
        .map(|controller| format!("+{controller}"))
        .collect();
    if missing.is_empty() || has_processes(dir)? || dir.write("cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return Ok(());
    }
    // One that cannot be had (cpu, with real-time processes) fails all of a write.
    for controller in missing {
        let _ = dir.write("cgroup.subtree_control", &controller);
    }
    Ok(())
}

/// Whether a cgroup has processes of its own, so that it cannot hand down controllers. Some it could (cpu, pids): it would become the root of a
/// threaded domain, and those below it could not be joined. The root of all alone may have both.
fn has_processes(dir: &Dir) -> Result<bool> {
    match dir.read("cgroup.type") {
        Err(error) if error.errno == Errno::ENOENT => Ok(false),
        kind => Ok(kind?.trim() != "domain" || !dir.procs()?.is_empty()),
    }
}

fn controllers(dir: &Dir, file: &str) -> sys::Result<BTreeSet<String>> {
    let text = super::if_there(dir.read(file))?;
    Ok(text.split_whitespace().filter(|name| CONTROLLERS.contains(name)).map(str::to_owned).collect())
}

/// Why a cgroup of v2 lacks a controller: a clause, or nothing if it has it.
pub(super) fn why_lacking(member: &Member, controller: &str) -> String {
    let lacks = |dir: &Dir, file: &str| !dir.read(file).unwrap_or_default().split_whitespace().any(|name| name == controller);
    if lacks(&member.root, "cgroup.controllers") {
        return format!("the host has no {controller} controller in cgroup v2");
    }
    let relative = member.hierarchy.relative();
    let above: Vec<Dir> = relative.match_indices('/').filter_map(|(end, _)| member.root.open(&relative[..end]).ok()?).collect();
    let withholding = [&member.root].into_iter().chain(&above).find(|dir| lacks(dir, "cgroup.subtree_control"));
    let reason =
        |dir: &Dir| format!("cgroup {:?} does not hand the {controller} controller down: {}", dir.path(), why_withheld(dir, controller));
    withholding.map(reason).unwrap_or_default()
}

fn why_withheld(dir: &Dir, controller: &str) -> &'static str {
    if has_processes(dir).unwrap_or(false) {
        let threaded = dir.read("cgroup.type").is_ok_and(|kind| kind.trim() != "domain");
        return if threaded { "it is threaded" } else { "it has processes of its own" };
    }
    match dir.write("cgroup.subtree_control", &format!("+{controller}")).map_err(|error| error.errno) {
        Err(Errno::EACCES | Errno::EPERM | Errno::EROFS) => "that is not permitted",
        _ => "the kernel refuses",
    }
}
