//! The loop over the steps, and which function does which step.

use crate::report::Talk;
use crate::sys::{self, Failure, Result, call, failure, fd};
use crate::{console, copyup, hook, mounts, namespaces, process};
use aril_plan::talk::{About, Header};
use aril_plan::{Ask, In, Op, Slot, Wire};
use core::ffi::CStr;
use linux_raw_sys::{errno, general};
use syscalls::Sysno;

/// What steps leave for later steps.
pub(crate) struct Executor {
    slots: &'static mut [i32],
    passed: u16,
    /// How many steps there are.
    pub(crate) steps: u32,
    /// Whether the masks' directory and null device are attached somewhere already: from then on they can be cloned.
    pub(crate) placed: [bool; 2],
    /// The last [`Op::Target`] had to be made.
    pub(crate) made: bool,
    /// An early [`Op::Chdir`] did it.
    pub(crate) in_cwd: bool,
    /// `HOME=…` where the configuration has none.
    pub(crate) home: Option<&'static CStr>,
    /// The program that [`Op::Find`] found.
    pub(crate) program: Option<&'static CStr>,
    /// The signals that end a process which waits at the gate.
    pub(crate) ends: Option<process::EndsBy>,
    /// The host may end: nothing ties this process to it any more.
    pub(crate) free: bool,
    /// Words about a failure that errno cannot say, for the report.
    pub(crate) detail: Detail,
}

/// A short text.
pub(crate) struct Detail {
    text: [u8; 1024],
    len: usize,
}

impl Detail {
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        self.len = 0;
        self.push(bytes);
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(self.text.len() - self.len);
        self.text[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }

    /// Adds what a hook says: its end stays, with room before it for a prefix.
    pub(crate) fn roll(&mut self, bytes: &[u8]) {
        const KEPT: usize = 900;
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (self.len + bytes.len()).saturating_sub(KEPT);
        self.text.copy_within(excess..self.len, 0);
        self.len -= excess;
        self.push(bytes);
    }

    /// Puts words before what is there.
    pub(crate) fn prefix(&mut self, bytes: &[u8]) {
        let old = Detail { text: self.text, len: self.len };
        self.set(bytes);
        if old.len > 0 {
            self.push(b": ");
            self.push(old.as_slice().trim_ascii());
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl Executor {
    pub(crate) fn new(slots: &'static mut [i32], header: Header) -> Executor {
        Executor {
            slots,
            passed: header.passed,
            steps: header.steps,
            made: false,
            placed: [false; 2],
            in_cwd: false,
            home: None,
            program: None,
            ends: None,
            free: false,
            detail: Detail { text: [0; 1024], len: 0 },
        }
    }

    /// The descriptor in a slot. A plan names only slots that it filled before; one that does not is a bug of the compiler.
    pub(crate) fn get(&self, slot: Slot) -> Result<i32> {
        match slot {
            Slot::CWD => Ok(general::AT_FDCWD),
            slot => match self.slots.get(slot.index(self.passed)) {
                Some(&file) if file >= 0 => Ok(file),
                _ => Err(failure(Sysno::close, errno::EBADF)),
            },
        }
    }

    /// The descriptor of a slot, -1 of none.
    pub(crate) fn if_any(&self, slot: Slot) -> Result<i32> {
        if slot == Slot::NONE { Ok(-1) } else { self.get(slot) }
    }

    /// Closes what is in every slot but these.
    pub(crate) fn close_all_but(&mut self, keep: &[Slot; 3]) -> Result<()> {
        let mut kept = [-1; 3];
        for (file, slot) in kept.iter_mut().zip(keep) {
            *file = self.if_any(*slot)?;
        }
        for place in self.slots.iter_mut().filter(|place| !kept.contains(place)) {
            let old = core::mem::replace(place, -1);
            if old >= 0 {
                sys::close(old);
            }
        }
        Ok(())
    }

    /// Puts a descriptor into a slot; what was in it is closed.
    pub(crate) fn set(&mut self, slot: Slot, file: i32) -> Result<()> {
        let place = self.slots.get_mut(slot.index(self.passed)).ok_or(failure(Sysno::close, errno::EBADF))?;
        let old = core::mem::replace(place, file);
        if old >= 0 {
            sys::close(old);
        }
        Ok(())
    }
}

/// Runs the plan. The last step of a plan never returns.
pub(crate) fn run(mut executor: Executor, mut talk: Talk, mut from: In<'static>) -> ! {
    for step in 0..executor.steps {
        let done = match Op::decode(&mut from) {
            Some(op) => one(&mut executor, &mut talk, step, op),
            None => Err(failure(Sysno::read, errno::EPROTO)),
        };
        if let Err(failure) = done {
            talk.fault(step, failure, executor.detail.as_slice());
            break;
        }
    }
    sys::exit(1)
}

fn one(x: &mut Executor, talk: &mut Talk, step: u32, op: Op<'static>) -> Result<()> {
    match op {
        Op::Setns { ns, kinds } => call(Sysno::setns, [fd(x.get(ns)?), kinds as usize, 0, 0, 0, 0]).map(drop),
        Op::Unshare { kinds } => call(Sysno::unshare, [kinds as usize, 0, 0, 0, 0, 0]).map(drop),
        Op::Fork { shares } => namespaces::fork(talk, step, shares),
        Op::Ask { what: Ask::Copies } => talk.ask_ahead(step),
        Op::Receive { into } => x.set(into, talk.receive_file()?),
        Op::Ask { what: _ } => talk.ask(About::Ask, step, -1).map(drop),
        Op::Network {} => namespaces::network(talk),
        Op::Dumpable { on } => sys::prctl(linux_raw_sys::prctl::PR_SET_DUMPABLE, on.into()).map(drop),
        Op::Propagation { path, recursive, kind } => match mounts::propagation(path, recursive, kind) {
            Err(Failure { errno: errno::EINVAL, .. }) if path == c"/" => {
                x.detail.set(b"the root directory is no mount: in a chroot, bind its directory over itself before chroot(2)");
                mounts::propagation(path, recursive, kind)
            }
            done => done,
        },
        Op::OpenTree { into, at, path, recursive, nofollow } => mounts::open_tree(x, into, at, path, recursive, nofollow),
        Op::Label { mount, label } => mounts::label(x.get(mount)?, label),
        Op::NewFs { into, kind, options, attr } => mounts::new_fs(x, into, kind, &options, attr),
        Op::SetAttr { mount, recursive, set, clear, propagation, userns } => {
            let userns = if userns == Slot::NONE { 0 } else { x.get(userns)? };
            mounts::set_attr(x.get(mount)?, recursive, set, clear, propagation, userns)
        }
        Op::Target { into, root, path, kind, like } => mounts::target(x, into, root, path, kind, like),
        Op::KeepMode { target, mount } => mounts::keep_mode(x, target, mount),
        Op::MoveMount { mount, target } => {
            mounts::attach(x.get(mount)?, x.get(target)?)?;
            x.set(target, -1)
        }
        Op::LegacyMount { target, kind, source, flags, data } => {
            mounts::legacy(x.get(target)?, kind, source, flags, data)?;
            x.set(target, -1)
        }
        Op::OpenPath { into, path } => mounts::open_path(x, into, path),
        Op::CopyUp { root, path, to } => copyup::copy_up(x.get(root)?, path, x.get(to)?),
        Op::Mknod { at, path, mode, major, minor, uid, gid } => {
            mounts::mknod(x.get(at)?, path, &mounts::Node { mode, device: (major, minor), uid, gid })
        }
        Op::Symlink { at, path, to, exact } => mounts::symlink(x.get(at)?, path, to, exact),
        Op::PivotRoot { root } => mounts::pivot_root(x.get(root)?),
        Op::MoveRoot { root } => mounts::move_root(x.get(root)?),
        Op::Chroot { root } => mounts::chroot(x.get(root)?),
        Op::Mask { root, path, directory, null } => mounts::mask(x, root, path, directory, null),
        Op::ReadOnly { root, path } => mounts::read_only(x.get(root)?, path),
        Op::Write { at, path, value } => mounts::write(x.get(at)?, path, value),
        Op::ReadBack { at, path, value } => mounts::read_back(x, at, path, value),
        Op::Close { slot } => x.set(slot, -1),
        Op::Console { root, rows, columns, uid, bind } => {
            console::console(x, talk, step, &console::Terminal { root, rows, columns, uid, bind })
        }
        Op::Home { uid: _ } => process::home(x, talk, step),
        Op::Created { keep } => process::created(x, talk, step, &keep),
        Op::Free {} => process::free(x, &[Slot::NONE; 3]),
        Op::Gate { listener } => {
            let listener = x.get(listener)?;
            process::gate(x, listener, talk)
        }
        Op::Hook { path, args, env, timeout, output: [stdout, stderr] } => {
            let output = [x.if_any(stdout)?, x.if_any(stderr)?];
            hook::run(x, talk, step, &hook::Hook { path, args, env, timeout, output })
        }
        Op::Seccomp { flags, filter } => process::seccomp(talk, step, flags, filter),
        Op::CloseFrom { first } => process::close_from(talk, step, first),
        other => process::one(x, other),
    }
}

/// Success where the failure is this errno.
pub(crate) fn tolerate(result: Result<()>, tolerated: u32) -> Result<()> {
    match result {
        Err(Failure { errno, .. }) if errno == tolerated => Ok(()),
        other => other,
    }
}
