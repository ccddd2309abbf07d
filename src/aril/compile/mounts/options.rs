//! Mount options: one table, from which parsing, the recursive forms and `aril features` derive.

use super::mapping::{self, Mapping};
use crate::config::{Invalid, Pointer};

/// `MOUNT_ATTR__ATIME`: the attribute's three values share these bits, so that setting one clears them all.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// What an option changes.
enum Effect {
    /// Nothing: it is the default, or what it asks for has no counterpart in the new mount API.
    Nothing,
    /// An attribute of the mount, on. With a leading `r` in its name it holds for the mounts below it, too.
    Set(u64),
    /// An attribute of the mount, off. With a leading `r` likewise.
    Clear(u64),
    /// A way of updating access times: one of the values below [`ATIME`]. With a leading `r` likewise.
    Atime(u64),
    /// Not that way of updating access times, but the kernel's usual one. With a leading `r` likewise.
    NotAtime(u64),
    /// A flag of the file system, and the flag that it takes back.
    Flag(&'static str, &'static str),
    /// An attribute of the mount and a flag of the file system.
    Both(&'static Effect, &'static Effect),
    /// `MS_SHARED` and its kin.
    Propagation(u64, bool),
    /// What happens to be no property of a mount.
    Other(fn(&mut Options)),
}

/// The options, apart from the recursive forms of those that have one ([`Effect::recursive`]).
///
/// Without effect: `silent` and `loud` told the file system what to print, and `iversion` is on wherever a file system has it (ext4, xfs,
/// btrfs; tmpfs since 6.6); `fsconfig(2)` has neither.
const TABLE: &[(&str, Effect)] = {
    use Effect::{Atime, Both, Clear, Flag, NotAtime, Nothing, Other, Propagation, Set};
    &[
        ("async", Flag("async", "sync")),
        ("atime", NotAtime(libc::MOUNT_ATTR_NOATIME)),
        ("bind", Other(|o| o.bind = Some(o.bind == Some(true)))),
        ("copy-symlink", Other(|o| o.copy_symlink = true)),
        ("defaults", Nothing),
        ("dest-nofollow", Other(|o| o.dest_nofollow = true)),
        ("dev", Clear(libc::MOUNT_ATTR_NODEV)),
        ("diratime", Clear(libc::MOUNT_ATTR_NODIRATIME)),
        ("dirsync", Flag("dirsync", "")),
        ("exec", Clear(libc::MOUNT_ATTR_NOEXEC)),
        ("idmap", Other(|o| o.idmap = Some(o.idmap == Some(true)))),
        ("iversion", Nothing),
        ("lazytime", Flag("lazytime", "nolazytime")),
        ("loud", Nothing),
        ("mand", Flag("mand", "nomand")),
        ("noatime", Atime(libc::MOUNT_ATTR_NOATIME)),
        ("nodev", Set(libc::MOUNT_ATTR_NODEV)),
        ("nodiratime", Set(libc::MOUNT_ATTR_NODIRATIME)),
        ("noexec", Set(libc::MOUNT_ATTR_NOEXEC)),
        ("noiversion", Nothing),
        ("nolazytime", Flag("nolazytime", "lazytime")),
        ("nomand", Flag("nomand", "mand")),
        ("norelatime", NotAtime(libc::MOUNT_ATTR_RELATIME)),
        ("nostrictatime", NotAtime(libc::MOUNT_ATTR_STRICTATIME)),
        ("nosuid", Set(libc::MOUNT_ATTR_NOSUID)),
        ("nosymfollow", Set(libc::MOUNT_ATTR_NOSYMFOLLOW)),
        ("private", Propagation(libc::MS_PRIVATE, false)),
        ("rbind", Other(|o| o.bind = Some(true))),
        ("relatime", Atime(libc::MOUNT_ATTR_RELATIME)),
        ("remount", Other(|o| o.remount = true)),
        ("ridmap", Other(|o| o.idmap = Some(true))),
        ("ro", Both(&Set(libc::MOUNT_ATTR_RDONLY), &Flag("ro", "rw"))),
        ("rprivate", Propagation(libc::MS_PRIVATE, true)),
        ("rshared", Propagation(libc::MS_SHARED, true)),
        ("rslave", Propagation(libc::MS_SLAVE, true)),
        ("runbindable", Propagation(libc::MS_UNBINDABLE, true)),
        ("rw", Both(&Clear(libc::MOUNT_ATTR_RDONLY), &Flag("rw", "ro"))),
        ("shared", Propagation(libc::MS_SHARED, false)),
        ("silent", Nothing),
        ("slave", Propagation(libc::MS_SLAVE, false)),
        ("src-nofollow", Other(|o| o.src_nofollow = true)),
        ("strictatime", Atime(libc::MOUNT_ATTR_STRICTATIME)),
        ("suid", Clear(libc::MOUNT_ATTR_NOSUID)),
        ("symfollow", Clear(libc::MOUNT_ATTR_NOSYMFOLLOW)),
        ("sync", Flag("sync", "async")),
        ("tmpcopyup", Other(|o| o.tmpcopyup = true)),
        ("unbindable", Propagation(libc::MS_UNBINDABLE, false)),
    ]
};

impl Effect {
    /// The part of the effect that the option's recursive form has.
    fn recursive(&self) -> Option<&Effect> {
        match self {
            Effect::Set(_) | Effect::Clear(_) | Effect::Atime(_) | Effect::NotAtime(_) => Some(self),
            Effect::Both(attribute, _) => attribute.recursive(),
            _ => None,
        }
    }
}

/// Changes of a mount's attributes, as `mount_setattr(2)` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attributes {
    set: u64,
    clear: u64,
}

impl Attributes {
    /// Forgets what was said of these bits.
    fn forget(&mut self, bits: u64) {
        self.set &= !bits;
        self.clear &= !bits;
    }

    fn apply(&mut self, effect: &Effect) {
        match *effect {
            Effect::Set(bits) => {
                self.set |= bits;
                self.clear &= !bits;
            }
            Effect::Clear(bits) => {
                self.set &= !bits;
                self.clear |= bits;
            }
            Effect::Atime(value) => {
                self.set = (self.set & !ATIME) | value;
                self.clear |= ATIME;
            }
            // `strictatime,atime` stays strict, as in mount(8), where `atime` takes back `noatime` alone.
            Effect::NotAtime(value) if self.clear & ATIME == 0 || self.set & ATIME == value => {
                self.set = (self.set & !ATIME) | libc::MOUNT_ATTR_RELATIME;
                self.clear |= ATIME;
            }
            _ => {}
        }
    }
}

/// How mounts and unmounts spread between copies of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// For the mounts below as well.
    pub recursive: bool,
}

/// The options of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `MOUNT_ATTR_*` to set on the mount, after the recursive ones.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear on the mount; all of `MOUNT_ATTR__ATIME` wherever a way of updating access times is set.
    pub attr_clear: u64,
    /// `MOUNT_ATTR_*` to set on the mount and all below it, before the others: of two options that contradict each other the later one wins.
    pub rec_set: u64,
    /// `MOUNT_ATTR_*` to clear on the mount and all below it.
    pub rec_clear: u64,
    /// Flags of a new file system for `fsconfig(2)`, in order. A bind mount has none: it shares its file system with others.
    ///
    /// `ro` is there as well as in [`Options::attr_set`], since `mount(2)` makes both read-only: a file system on a device that cannot be
    /// written to would otherwise be refused. Where something is still to be made in a new tmpfs, the flag is to be left out, and the
    /// attribute set at the end.
    pub flags: Vec<&'static str>,
    /// Changes of propagation, in order: `slave,shared` is a mount that is both.
    pub propagation: Vec<Propagation>,
    /// A bind mount, and whether it takes the mounts below along.
    pub bind: Option<bool>,
    /// Changes a mount that is there.
    pub remount: bool,
    /// A tmpfs that begins with what it hides.
    pub tmpcopyup: bool,
    /// Owners are mapped, and whether on the mounts below as well.
    pub idmap: Option<bool>,
    /// The mappings in the option's own text, if they stand there.
    pub mapping: Option<Mapping>,
    /// Makes a source that is a symbolic link again as a link, instead of mounting what it points to.
    pub copy_symlink: bool,
    /// Does not follow a symbolic link at the end of the source.
    pub src_nofollow: bool,
    /// Does not follow a symbolic link at the end of the destination.
    pub dest_nofollow: bool,
    /// What is left for the file system to understand, in order: `key=value`, or a key alone.
    pub data: Vec<String>,
}

impl Options {
    /// The options that are known, the recursive forms among them, in alphabetical order: what `aril features` lists.
    #[must_use]
    pub fn known() -> Vec<String> {
        let recursive = TABLE.iter().filter(|(_, effect)| effect.recursive().is_some()).map(|(name, _)| format!("r{name}"));
        let mut names: Vec<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).chain(recursive).collect();
        names.sort_unstable();
        names
    }

    fn apply(&mut self, effect: &Effect) {
        match *effect {
            Effect::Nothing => {}
            Effect::Set(_) | Effect::Clear(_) | Effect::Atime(_) | Effect::NotAtime(_) => {
                let mut attributes = Attributes { set: self.attr_set, clear: self.attr_clear };
                attributes.apply(effect);
                (self.attr_set, self.attr_clear) = (attributes.set, attributes.clear);
            }
            Effect::Flag(name, opposite) => {
                self.flags.retain(|flag| *flag != name && *flag != opposite);
                self.flags.push(name);
            }
            Effect::Both(one, other) => {
                self.apply(one);
                self.apply(other);
            }
            Effect::Propagation(kind, recursive) => {
                let propagation = Propagation { kind, recursive };
                if self.propagation.last() != Some(&propagation) {
                    self.propagation.push(propagation);
                }
            }
            Effect::Other(change) => change(self),
        }
    }

    fn apply_recursively(&mut self, effect: &Effect) {
        let mut attributes = Attributes { set: self.rec_set, clear: self.rec_clear };
        attributes.apply(effect);
        (self.rec_set, self.rec_clear) = (attributes.set, attributes.clear);
        // What was said of the mount alone so far is overridden.
        let mut own = Attributes { set: self.attr_set, clear: self.attr_clear };
        own.forget(match *effect {
            Effect::Set(bits) | Effect::Clear(bits) => bits,
            _ => ATIME,
        });
        (self.attr_set, self.attr_clear) = (own.set, own.clear);
    }
}

/// Reads the options of the mount whose `options` stand at a pointer. What is not known is the file system's own.
///
/// # Errors
/// An option holds a NUL, has an id mapping in its own text that is none (`idmap=…`), or is the recursive form of a flag of a file system
/// (`rsync`): `mount_setattr(2)` has no attribute for it, and the mounts below have file systems of their own.
pub fn parse(options: &[String], at: &Pointer) -> Result<Options, Invalid> {
    let mut parsed = Options::default();
    for (i, option) in options.iter().enumerate() {
        let effect = |name: &str| TABLE.iter().find(|(known, _)| *known == name).map(|(_, effect)| effect);
        if option.contains('\0') {
            return Err(Invalid::new(&at.of(i), format!("mount option {option:?} holds a NUL")));
        }
        if let Some((name @ ("idmap" | "ridmap"), text)) = option.split_once('=') {
            parsed.idmap = Some(name == "ridmap" || parsed.idmap == Some(true));
            parsed.mapping = Some(mapping::parse(text, &at.of(i))?);
            continue;
        }
        if let Some(effect) = effect(option) {
            parsed.apply(effect);
        } else if let Some((plain, flag)) = option.strip_prefix('r').and_then(|plain| Some((plain, effect(plain)?))) {
            match flag.recursive() {
                Some(effect) => parsed.apply_recursively(effect),
                None if matches!(flag, Effect::Flag(..)) => {
                    let why = format!(
                        "{plain} is a flag of a file system, which the mounts below do not share: the kernel sets none recursively"
                    );
                    return Err(Invalid::new(&at.of(i), format!("mount option {option:?} is not supported: {why}")));
                }
                None => parsed.data.extend(split(option)),
            }
        } else {
            parsed.data.extend(split(option));
        }
    }
    Ok(parsed)
}

/// Cuts the text of file system options at its commas, as the kernel does with the data of `mount(2)`: not within double quotes, which
/// a label with commas stands in and which go, nor after a backslash, which stays (overlay reads it).
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            ',' if !quoted && !escaped => parts.push(std::mem::take(&mut part)),
            '"' if !escaped => quoted = !quoted,
            _ => part.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NOSUID as NOSUID, MOUNT_ATTR_RDONLY as RDONLY, MOUNT_ATTR_STRICTATIME as STRICT};

    fn parsed(options: &[&str]) -> Options {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        parse(&options, &Pointer::to("/mounts/0/options")).expect("options are valid")
    }

    #[test]
    fn every_known_option_is_understood_and_none_reaches_the_file_system() {
        for name in Options::known() {
            assert_eq!(parsed(&[&name]).data, Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn the_names_of_the_specification_are_known() {
        let known = Options::known();
        let names = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec \
            noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount \
            rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared \
            rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable \
            idmap ridmap copy-symlink src-nofollow dest-nofollow";
        for name in names.split_whitespace() {
            assert!(known.iter().any(|k| k == name), "{name}");
        }
        assert_eq!(known.len(), names.split_whitespace().count(), "{known:?}");
    }

    #[test]
    fn no_recursive_form_hides_a_plain_option() {
        let known = Options::known();
        assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "{known:?}");
    }

    #[test]
    fn the_later_option_wins() {
        let options = parsed(&["ro", "nosuid", "rw"]);
        assert_eq!((options.attr_set, options.attr_clear), (NOSUID, RDONLY));
        assert_eq!(options.flags, ["rw"]);
        assert_eq!(parsed(&["sync", "async", "lazytime"]).flags, ["async", "lazytime"]);
    }

    #[test]
    fn read_only_is_the_mount_and_the_file_system() {
        let options = parsed(&["ro"]);
        assert_eq!((options.attr_set, options.flags.as_slice()), (RDONLY, ["ro"].as_slice()));
    }

    #[test]
    fn access_times_clear_the_whole_field() {
        let options = parsed(&["noatime"]);
        assert_eq!((options.attr_set, options.attr_clear), (NOATIME, ATIME));
        let options = parsed(&["noatime", "strictatime"]);
        assert_eq!((options.attr_set, options.attr_clear), (STRICT, ATIME));
        let options = parsed(&["noatime", "relatime"]);
        assert_eq!((options.attr_set, options.attr_clear), (0, ATIME));
        assert_eq!(parsed(&["noatime", "atime"]).attr_set, 0);
        assert_eq!(parsed(&["strictatime", "atime"]).attr_set, STRICT);
        assert_eq!(parsed(&["ratime"]).rec_clear, ATIME);
    }

    #[test]
    fn recursive_forms_reach_below_and_the_later_wins_there_too() {
        let options = parsed(&["rro", "nosuid"]);
        assert_eq!((options.rec_set, options.attr_set), (RDONLY, NOSUID));
        assert_eq!(options.flags, Vec::<&str>::new(), "a file system that others see must stay as it is");
        let options = parsed(&["ro", "rrw"]);
        assert_eq!((options.attr_set, options.rec_clear), (0, RDONLY));
        let options = parsed(&["rro", "rw"]);
        assert_eq!((options.rec_set, options.attr_clear), (RDONLY, RDONLY), "the mount itself is writable");
        let options = parsed(&["noatime", "rstrictatime"]);
        assert_eq!((options.attr_set, options.attr_clear, options.rec_set, options.rec_clear), (0, 0, STRICT, ATIME));
    }

    #[test]
    fn binds_and_propagation() {
        assert_eq!(parsed(&["rbind", "bind"]).bind, Some(true), "podman gives both");
        assert_eq!(parsed(&["bind"]).bind, Some(false));
        assert_eq!(parsed(&["nosuid"]).bind, None);
        let kinds: Vec<_> = parsed(&["slave", "rshared", "rshared"]).propagation.iter().map(|p| (p.kind, p.recursive)).collect();
        assert_eq!(kinds, [(libc::MS_SLAVE, false), (libc::MS_SHARED, true)]);
    }

    #[test]
    fn the_rest_is_the_file_systems_own() {
        let options = parsed(&["mode=755", "size=64k,nr_inodes=8", "nosuid", "", "context=\"u:r:t:s0:c1,c2\"", "lowerdir=a\\,b"]);
        assert_eq!(options.data, ["mode=755", "size=64k", "nr_inodes=8", "context=u:r:t:s0:c1,c2", "lowerdir=a\\,b"]);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        for wrong in ["mode=\0", "idmap=uids=0-1-1", "rsync", "rasync", "rdirsync", "rmand", "rnomand", "rlazytime"] {
            let error = parse(&["ro".to_owned(), wrong.to_owned()], &Pointer::to("/mounts/3/options")).expect_err(wrong);
            assert_eq!(error.at.as_str(), "/mounts/3/options/1");
        }
    }
}
