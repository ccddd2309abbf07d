//! Which devices a container may make, read and write.
//!
//! The rules are one list, and for each of the three kinds of access the last rule that speaks of the device decides:
//!
//! 1. nothing is allowed;
//! 2. the default devices are, and where the configuration has no rules at all, so are the nodes of `/linux/devices`;
//! 3. the configuration's rules, in their order. A rule that denies by wildcard (managers' lists begin with one) leaves the default devices
//!    alone; one that names a number takes that device away;
//! 4. any node may be made: without a rule for it, nothing can be done with it.
//!
//! On cgroup v2 they become a program ([`program`]), on v1 lines of `devices.allow` and `devices.deny` ([`v1`]).

mod attach;
mod program;
mod v1;

use crate::config::spec::{Linux, LinuxDeviceCgroup, LinuxDeviceType};
use crate::config::{Invalid, Pointer};

pub(super) use attach::{detach, replace};
pub(super) use v1::{replace_v1, write_v1};

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Both.
    Any,
    Block,
    Char,
}

/// One rule: what is to be done with access of these kinds to these devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Kind,
    /// `None` is every number.
    major: Option<u32>,
    minor: Option<u32>,
    /// Bits of [`MKNOD`], [`READ`], [`WRITE`].
    access: u8,
}

/// The rules of a container, in their order: the last that speaks of a device and a kind of access decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    rules: Vec<Rule>,
    /// Where the list stands.
    at: Pointer,
}

const DENY_ALL: Rule = Rule { allow: false, kind: Kind::Any, major: None, minor: None, access: ALL };

/// What runc and crun allow in every container: null, zero, full, random, urandom, tty, console, ptmx, the ptys, net/tun.
const DEFAULTS: [Rule; 10] = [
    default_node(1, Some(3)),
    default_node(1, Some(5)),
    default_node(1, Some(7)),
    default_node(1, Some(8)),
    default_node(1, Some(9)),
    default_node(5, Some(0)),
    default_node(5, Some(1)),
    default_node(5, Some(2)),
    default_node(136, None),
    default_node(10, Some(200)),
];

const ANY_NODE: Rule = Rule { allow: true, kind: Kind::Any, major: None, minor: None, access: MKNOD };

/// The most rules that a container may have.
const MAX_RULES: usize = 4096;

/// The numbers of a device have 12 and 20 bits.
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

const fn default_node(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: Kind::Char, major: Some(major), minor, access: ALL }
}

impl Devices {
    /// The rules that a configuration asks for.
    ///
    /// # Errors
    /// The rule of `/linux/resources/devices` that cannot be.
    pub fn resolve(linux: Option<&Linux>) -> Result<Devices, Invalid> {
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let asked = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        Devices::list(linux, asked, &Pointer::to("/linux/resources/devices"))
    }

    /// The rules that a list asks for, which stands at the pointer, of a container whose nodes are in it.
    ///
    /// # Errors
    /// The rule that cannot be.
    pub fn of(asked: &[LinuxDeviceCgroup], at: &Pointer) -> Result<Devices, Invalid> {
        Devices::list(None, asked, at)
    }

    /// Where the list stands.
    #[must_use]
    pub fn at(&self) -> &Pointer {
        &self.at
    }

    fn list(linux: Option<&Linux>, asked: &[LinuxDeviceCgroup], at: &Pointer) -> Result<Devices, Invalid> {
        if asked.len() > MAX_RULES / 2 {
            return Err(Invalid::new(
                at,
                format!("{} device rules are more than the {} that a container may have", asked.len(), MAX_RULES / 2),
            ));
        }
        let mut rules = vec![DENY_ALL];
        rules.extend(DEFAULTS);
        if asked.is_empty() {
            rules.extend(nodes(linux)?);
        }
        for (index, device) in asked.iter().enumerate() {
            let rule = rule(device, &at.of(index))?;
            rules.push(rule);
            if !rule.allow && rule.major.is_none() && rule.minor.is_none() {
                rules.extend(DEFAULTS);
            }
        }
        rules.push(ANY_NODE);
        Ok(Devices { rules: without_dead(&rules), at: at.clone() })
    }

    /// Whether nothing is denied.
    #[must_use]
    pub fn allow_everything(&self) -> bool {
        matches!(self.rules.as_slice(), [only] if only.allow && only.covers(&DENY_ALL))
    }
}

impl Devices {
    /// A line for each rule, as the `devices` files of v1 spell it.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(|rule| {
            let kind = match rule.kind {
                Kind::Any => 'a',
                Kind::Block => 'b',
                Kind::Char => 'c',
            };
            let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
            let access = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter().filter(|(bit, _)| rule.access & bit != 0);
            let access: String = access.map(|(_, letter)| letter).collect();
            let verb = if rule.allow { "allow" } else { "deny " };
            format!("{verb} {kind} {}:{} {access}", number(rule.major), number(rule.minor))
        })
    }
}

impl Rule {
    fn same_or_wider(&self, other: &Rule) -> bool {
        (self.kind == Kind::Any || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether it speaks of all that `other` speaks of.
    fn covers(&self, other: &Rule) -> bool {
        self.same_or_wider(other) && other.access & !self.access == 0
    }

    /// Whether there is something that both speak of.
    fn meets(&self, other: &Rule) -> bool {
        let numbers = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kind == Kind::Any || other.kind == Kind::Any || self.kind == other.kind)
            && numbers(self.major, other.major)
            && numbers(self.minor, other.minor)
            && self.access & other.access != 0
    }
}

/// The rules that matter, the first of which speaks of everything: not those of which a later one says all again, nor those that say what is
/// so already.
fn without_dead(rules: &[Rule]) -> Vec<Rule> {
    let dead = |index: usize| rules[index + 1..].iter().any(|later| later.covers(&rules[index]));
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in (0..rules.len()).filter(|&index| !dead(index)).map(|index| rules[index]) {
        let before =
            kept.iter().rev().find(|earlier| if earlier.allow == rule.allow { earlier.covers(&rule) } else { earlier.meets(&rule) });
        if before.is_none_or(|before| before.allow != rule.allow) {
            kept.push(rule);
        }
    }
    kept
}

/// The nodes that the configuration wants: they must be there to be used, where it says nothing about their use.
fn nodes(linux: Option<&Linux>) -> Result<Vec<Rule>, Invalid> {
    let mut rules = Vec::new();
    for (index, node) in linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default().iter().enumerate() {
        let at = Pointer::to("/linux/devices").of(index);
        let kind = match node.typ() {
            LinuxDeviceType::B => Kind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
            LinuxDeviceType::P | LinuxDeviceType::A => continue,
        };
        let (major, minor) = numbers(Some(node.major()), Some(node.minor()), &at)?;
        rules.push(Rule { allow: true, kind, major, minor, access: ALL });
    }
    Ok(rules)
}

/// The same as rules of a configuration.
///
/// # Errors
/// A node whose numbers cannot be.
pub(super) fn rules_of_nodes(linux: Option<&Linux>) -> Result<Vec<LinuxDeviceCgroup>, Invalid> {
    let rule = |rule: &Rule| {
        let mut asked = LinuxDeviceCgroup::default();
        asked.set_allow(true);
        asked.set_typ(Some(if rule.kind == Kind::Block { LinuxDeviceType::B } else { LinuxDeviceType::C }));
        asked.set_major(rule.major.map(i64::from));
        asked.set_minor(rule.minor.map(i64::from));
        asked.set_access(Some("rwm".to_owned()));
        asked
    };
    Ok(nodes(linux)?.iter().map(rule).collect())
}

fn rule(device: &LinuxDeviceCgroup, at: &Pointer) -> Result<Rule, Invalid> {
    let kind = match device.typ() {
        None | Some(LinuxDeviceType::A) => Kind::Any,
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Char,
        Some(LinuxDeviceType::P) => return Err(Invalid::new(&at.of("type"), "device type \"p\" has no device rules: use a, b or c")),
    };
    let (major, minor) = numbers(device.major(), device.minor(), at)?;
    Ok(Rule { allow: device.allow(), kind, major, minor, access: access(device, at)? })
}

fn numbers(major: Option<i64>, minor: Option<i64>, at: &Pointer) -> Result<(Option<u32>, Option<u32>), Invalid> {
    Ok((number(major, MAJOR_MAX, &at.of("major"))?, number(minor, MINOR_MAX, &at.of("minor"))?))
}

/// A device number; -1 is every number, as managers write it.
fn number(number: Option<i64>, max: u32, at: &Pointer) -> Result<Option<u32>, Invalid> {
    match number {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n <= max => Ok(Some(n)),
            _ => Err(Invalid::new(at, format!("{n} is no device number: use 0 to {max}, or -1 for every number"))),
        },
    }
}

fn access(device: &LinuxDeviceCgroup, at: &Pointer) -> Result<u8, Invalid> {
    let at = at.of("access");
    let text = match device.access().as_deref() {
        // A rule that denies a device and does not say what of it denies it altogether.
        None | Some("") if !device.allow() => return Ok(ALL),
        None | Some("") => return Err(Invalid::new(&at, "a rule that allows a device must say what: some of r, w and m")),
        Some(text) => text,
    };
    text.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        _ => Err(Invalid::new(&at, format!("device access {text:?} is not of the letters r, w and m"))),
    })
}

#[cfg(test)]
mod tests;
