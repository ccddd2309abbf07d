//! Who the process is.

use crate::compile::idmap::IdMap;
use crate::config::spec::User;
use crate::config::{Invalid, Pointer};

/// The number that means "none" to the kernel, and is no id.
const NONE: u32 = u32::MAX;

/// `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65536;

/// What `setresuid(2)` and its kin take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Permissions that new files do not get; none given is left to the caller.
    pub umask: Option<u32>,
    /// Supplementary group ids as little-endian `u32`s.
    pub groups: Vec<u8>,
}

/// The container's user namespace, where it has one and its maps are known.
#[derive(Debug, Clone, Copy)]
pub struct Userns<'a> {
    /// User ids.
    pub uids: &'a IdMap,
    /// Group ids.
    pub gids: &'a IdMap,
    /// Whether `setgroups(2)` works: not where an unprivileged process wrote the map of group ids.
    pub setgroups: bool,
}

/// Reads the user that stands at a pointer.
///
/// # Errors
/// An id is no id or is not mapped in the user namespace, there are more groups than the kernel takes or any where they cannot be set, or
/// the umask is more than permission bits.
pub fn resolve(user: &User, at: &Pointer, userns: Option<Userns<'_>>) -> Result<Credentials, Invalid> {
    let none = Vec::new();
    let groups = user.additional_gids().as_ref().unwrap_or(&none);
    let at_groups = at.of("additionalGids");
    if groups.len() > GROUPS_MAX {
        return Err(Invalid::new(&at_groups, format!("{} groups are more than the kernel takes ({GROUPS_MAX})", groups.len())));
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(Invalid::new(&at.of("umask"), format!("umask {umask} (0{umask:o}) is more than permission bits (at most 511, 0777)")));
    }
    let (uids, gids) = (userns.map(|ns| ns.uids), userns.map(|ns| ns.gids));
    check("uid", user.uid(), uids, &at.of("uid"))?;
    check("gid", user.gid(), gids, &at.of("gid"))?;
    if let Some(gid) = groups.first().filter(|_| userns.is_some_and(|ns| !ns.setgroups)) {
        let why =
            format!("additional gid {gid} cannot be set: in a user namespace whose maps an unprivileged user wrote, groups are fixed");
        return Err(Invalid::new(&at_groups, why));
    }
    for (i, gid) in groups.iter().enumerate() {
        check("gid", *gid, gids, &at_groups.of(i))?;
    }
    Ok(Credentials {
        uid: user.uid(),
        gid: user.gid(),
        umask: user.umask(),
        groups: groups.iter().flat_map(|gid| gid.to_le_bytes()).collect(),
    })
}

fn check(kind: &str, id: u32, map: Option<&IdMap>, at: &Pointer) -> Result<(), Invalid> {
    if id == NONE {
        return Err(Invalid::new(at, format!("{id} is no {kind}")));
    }
    match map {
        Some(map) if map.to_host(id).is_none() => Err(Invalid::new(at, format!("{kind} {id} is not mapped in the user namespace"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::idmap;
    use serde_json::{Value, json};

    fn resolved(user: Value, userns: Option<Userns<'_>>) -> Result<Credentials, Invalid> {
        let user: User = serde_json::from_value(user).expect("the user is valid");
        resolve(&user, &Pointer::to("/process/user"), userns)
    }

    fn map(size: u32) -> IdMap {
        let mappings = serde_json::from_value(json!([{"containerID": 0, "hostID": 1000, "size": size}])).expect("the mapping is valid");
        let mappings: Vec<_> = mappings;
        idmap::resolve(&mappings, &Pointer::default()).expect("the mapping is valid")
    }

    #[test]
    fn ids_become_what_the_executor_takes() {
        let user = resolved(json!({"uid": 7, "gid": 8, "umask": 18, "additionalGids": [1, 258]}), None).expect("the user is valid");
        assert_eq!(user, Credentials { uid: 7, gid: 8, umask: Some(0o022), groups: vec![1, 0, 0, 0, 2, 1, 0, 0] });
        let user = resolved(json!({}), None).expect("the user is valid");
        assert_eq!(user, Credentials { uid: 0, gid: 0, umask: None, groups: Vec::new() });
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_place() {
        for (user, place) in [
            (json!({"uid": u32::MAX}), "/process/user/uid"),
            (json!({"gid": u32::MAX}), "/process/user/gid"),
            (json!({"additionalGids": [1, u32::MAX]}), "/process/user/additionalGids/1"),
            (json!({"additionalGids": vec![1; 65537]}), "/process/user/additionalGids"),
            (json!({"umask": 512}), "/process/user/umask"),
        ] {
            assert_eq!(resolved(user, None).expect_err(place).at.as_str(), place);
        }
    }

    #[test]
    fn a_user_namespace_has_to_map_the_ids() {
        let (uids, gids) = (map(10), map(20));
        let userns = Userns { uids: &uids, gids: &gids, setgroups: true };
        assert!(resolved(json!({"uid": 9, "gid": 19, "additionalGids": [19]}), Some(userns)).is_ok());
        for (user, place) in [
            (json!({"uid": 10}), "/process/user/uid"),
            (json!({"gid": 20}), "/process/user/gid"),
            (json!({"additionalGids": [20]}), "/process/user/additionalGids/0"),
        ] {
            assert_eq!(resolved(user, Some(userns)).expect_err(place).at.as_str(), place);
        }
    }

    #[test]
    fn fixed_groups_are_an_error_only_if_any_are_asked_for() {
        let ids = map(10);
        let userns = Userns { uids: &ids, gids: &ids, setgroups: false };
        assert!(resolved(json!({"additionalGids": []}), Some(userns)).is_ok());
        let error = resolved(json!({"additionalGids": [1]}), Some(userns)).expect_err("groups are fixed");
        assert_eq!(error.at.as_str(), "/process/user/additionalGids");
    }
}
