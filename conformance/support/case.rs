//! One run of one test: its directory, its state root, its cgroup, and the check at its end that nothing is left.

use super::environment::Environment;
use super::{Bundle, Call, Container, Output, leftovers};
use crate::fallback::Switch;
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What all cases of a run share.
pub struct Session {
    pub environment: Environment,
    /// The temporary directory of the run.
    pub dir: PathBuf,
    /// The cgroup above those of all cases, from the root of each hierarchy.
    pub cgroup: String,
}

impl Session {
    /// Makes the temporary directory, compiles the probe, and makes the parent cgroup in every hierarchy.
    pub fn begin(environment: Environment) -> Result<Self, String> {
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("conformance-{pid}"));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        // A container in a user namespace must be able to pass through.
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(|e| e.to_string())?;
        let busybox = environment.busybox.clone().ok_or("no static busybox: install the package busybox-static")?;
        fs::copy(busybox, dir.join("busybox")).map_err(|e| format!("busybox: {e}"))?;
        probe(&dir.join("probe"))?;
        let session = Self { environment, dir, cgroup: format!("/aril-test-{pid}") };
        for cgroup in session.environment.cgroups(&session.cgroup) {
            fs::create_dir(&cgroup).map_err(|e| format!("{}: {e}", cgroup.display()))?;
            // A v1 cpuset takes no process before it has processors and memory nodes.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let parent = cgroup.parent().unwrap_or(&cgroup).join(file);
                if let (true, Ok(text)) = (session.environment.v1.contains_key("cpuset"), fs::read(parent)) {
                    let _ = fs::write(cgroup.join(file), text);
                }
            }
        }
        Ok(session)
    }

    /// Removes the directory and the parent cgroup; the error lists what could not be.
    pub fn end(&self) -> Result<(), String> {
        let mut left = Vec::new();
        for cgroup in self.environment.cgroups(&self.cgroup) {
            if let Err(e) = fs::remove_dir(&cgroup) {
                left.push(format!("{}: {e}", cgroup.display()));
            }
        }
        if let Err(e) = fs::remove_dir_all(&self.dir) {
            left.push(format!("{}: {e}", self.dir.display()));
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }
}

/// Puts the probe at `path`: the one that `PROBE` names, for a machine without a C compiler, or one compiled now.
fn probe(path: &Path) -> Result<(), String> {
    if let Some(ready) = std::env::var_os("PROBE") {
        return fs::copy(&ready, path).map(drop).map_err(|e| format!("PROBE={}: {e}", ready.display()));
    }
    let source = path.with_extension("c");
    fs::write(&source, include_str!("probe.c")).map_err(|e| format!("{}: {e}", source.display()))?;
    let compiled = std::process::Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-o"])
        .args([path, &source])
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    if compiled.status.success() {
        Ok(())
    } else {
        Err(format!("the probe does not compile:\n{}", String::from_utf8_lossy(&compiled.stderr)))
    }
}

pub struct Case {
    pub environment: Arc<Session>,
    dir: PathBuf,
    number: usize,
    ids: Cell<usize>,
    mounts: RefCell<Vec<PathBuf>>,
    without: Cell<Option<&'static Switch>>,
}

impl std::ops::Deref for Session {
    type Target = Environment;
    fn deref(&self) -> &Environment {
        &self.environment
    }
}

impl Case {
    pub fn begin(session: Arc<Session>, number: usize, without: Option<&'static Switch>) -> Self {
        let dir = session.dir.join(number.to_string());
        for sub in ["state", "tmp"] {
            fs::create_dir_all(dir.join(sub)).expect("directory of the case");
        }
        fs::set_permissions(dir.join("state"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("state root");
        Self { environment: session, dir, number, ids: Cell::new(0), mounts: RefCell::default(), without: Cell::new(without) }
    }

    /// Undoes what the case made; the error lists what the runtime left.
    pub fn end(self) -> Result<(), String> {
        for mount in self.mounts.borrow().iter().rev() {
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
        let left = leftovers::find(&self.environment, &self.dir, &self.cgroup());
        let removed = fs::remove_dir_all(&self.dir).map_err(|e| format!("remove {}: {e}", self.dir.display()));
        match (left.is_empty(), removed) {
            (true, removed) => removed,
            (false, _) => Err(format!("left behind:\n  {}", left.join("\n  "))),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A path in the directory of the case that is free to use.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join("tmp").join(name)
    }

    /// Makes a directory of the case.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// The parent of the cgroups of this case.
    pub fn cgroup(&self) -> String {
        format!("{}/{}", self.environment.cgroup, self.number)
    }

    /// What this machine does without, for the calls of the runtime that are made from now on.
    pub fn without(&self) -> Option<&'static Switch> {
        self.without.get()
    }

    /// The machine has everything again.
    pub fn with_everything(&self) {
        self.without.set(None);
    }

    /// How many system calls were refused to the runtime so far, for what the machine does without.
    pub fn refusals(&self) -> usize {
        fs::read_to_string(self.path("refusals")).unwrap_or_default().lines().count()
    }

    fn next(&self) -> usize {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// A file without a name.
    pub fn scratch(&self) -> File {
        let path = self.dir.join(format!("scratch-{}", self.next()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("scratch file");
        fs::remove_file(path).expect("scratch file");
        file
    }

    /// A new bundle with the default configuration and a cgroup of its own.
    pub fn bundle(&self) -> Bundle {
        let n = self.next();
        Bundle::create(
            self.dir.join(format!("bundle-{n}")),
            format!("c{n}"),
            &format!("{}/c{n}", self.cgroup()),
            self.environment.pure_v2,
            &self.environment.dir.join("busybox"),
            &self.environment.dir.join("probe"),
        )
    }

    /// A bundle whose process is this shell script.
    pub fn bundle_sh(&self, script: &str) -> Bundle {
        let bundle = self.bundle();
        bundle.sh(script);
        bundle
    }

    /// A call of the runtime with these words.
    pub fn rt(&self, words: &[&str]) -> Call<'_> {
        Call::new(self, words.iter().copied())
    }

    fn on(&self, verb: &str, options: &[&str], bundle: &Bundle) -> Call<'_> {
        let dir = bundle.dir().display().to_string();
        self.rt(&[&[verb, "--bundle", &dir], options, &[bundle.id()]].concat())
    }

    /// The call that creates a container of the bundle.
    pub fn create_call(&self, options: &[&str], bundle: &Bundle) -> Call<'_> {
        self.on("create", options, bundle)
    }

    /// The call that runs a container of the bundle.
    pub fn run_call(&self, options: &[&str], bundle: &Bundle) -> Call<'_> {
        self.on("run", options, bundle)
    }

    /// Runs the bundle in the foreground to its end.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Output {
        let guard = Container::of(self, bundle);
        let output = self.run_call(&[], bundle).run();
        drop(guard);
        output
    }

    /// Runs a shell script in a container of a changed default bundle, and gives its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str, change: impl FnOnce(&Bundle)) -> String {
        let bundle = self.bundle_sh(script);
        change(&bundle);
        self.run(&bundle).ok().to_owned()
    }

    /// Creates a container of the bundle.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        let container = Container::of(self, bundle);
        self.create_call(&[], bundle).run().ok();
        container
    }

    /// Creates and starts a container of the bundle.
    #[track_caller]
    pub fn started(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        container.start();
        container
    }

    /// Creation of the bundle is refused, at `create` or at the latest at `start`, and leaves nothing; gives the text.
    #[track_caller]
    pub fn refused(&self, bundle: &Bundle) -> String {
        let _guard = Container::of(self, bundle);
        let text = self.create_call(&[], bundle).run().refused().to_owned();
        assert!(!super::present(self.state_root().join(bundle.id())), "a refused create left its state");
        let groups = self.environment.cgroups(&format!("{}/{}", self.cgroup(), bundle.id()));
        let left: Vec<_> = groups.into_iter().filter(|p| super::present(p)).collect();
        assert!(left.is_empty(), "a refused create left {left:?}");
        text
    }

    /// Mounts a tmpfs in the directory of the case, in the private mount namespace of the run, with this propagation.
    pub fn tmpfs(&self, name: &str, propagation: rustix::mount::MountPropagationFlags) -> PathBuf {
        let path = self.mkdir(name);
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("mount a tmpfs");
        rustix::mount::mount_change(&path, propagation).expect("propagation");
        self.mounts.borrow_mut().push(path.clone());
        path
    }

    /// Has a mount that a test made undone at its end.
    pub fn unmount_later(&self, path: &Path) {
        self.mounts.borrow_mut().push(path.to_owned());
    }
}
