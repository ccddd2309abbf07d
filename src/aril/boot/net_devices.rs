//! Handing network interfaces of the host over to the container (config-linux.md, "Network Devices").
//!
//! What becomes of them in the end is the kernel's: with its namespace a virtual one is destroyed, and a physical one goes back to the host.

use crate::compile::net_devices::NetDevice;
use crate::config::Located;
use crate::error::{Doing, Error, Result};
use crate::sys::netlink::{Address, Link, Netlink};
use crate::sys::{self, process};
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Moves the interfaces into the network namespace of a process, gives them their names and addresses there, and sets them up. If one fails, those
/// that were moved before it are moved back.
///
/// # Errors
/// There is no such interface, it cannot leave, or its name is taken in the container.
pub fn hand_over(pid: i32, devices: &[Located<NetDevice>]) -> Result<()> {
    let own = Side::own()?;
    let theirs = Side::of(pid, &own)?;
    let mut moved = Vec::new();
    for Located { at, value: device } in devices {
        if let Err(error) = one(&own, &theirs, device, &mut moved) {
            // The first error is the cause; there is nobody to tell of a second.
            moved.into_iter().rev().for_each(|moved| drop(give_back(&own, &theirs, &moved)));
            return Err(error).doing_at(at, || format!("cannot hand over the network interface {}", device.host));
        }
    }
    Ok(())
}

/// A network namespace, and a socket in it.
struct Side {
    namespace: OwnedFd,
    netlink: Netlink,
}

impl Side {
    fn own() -> Result<Side> {
        Ok(Side { namespace: process::network_namespace()?, netlink: Netlink::open()? })
    }

    /// That of a process. This process goes there and comes back: a socket is of the namespace in which it was made.
    fn of(pid: i32, own: &Side) -> Result<Side> {
        let namespace = sys::fs::open(&PathBuf::from(format!("/proc/{pid}/ns/net")), OFlag::O_RDONLY, 0)?;
        process::join_network(&namespace)?;
        let netlink = Netlink::open();
        process::join_network(&own.namespace)?;
        Ok(Side { namespace, netlink: netlink? })
    }

    fn find(&self, name: &str) -> Result<Option<Link>> {
        Ok(self.netlink.links()?.into_iter().find(|link| link.name == name))
    }
}

/// An interface that was moved.
struct Moved {
    /// As it was.
    before: Link,
    /// As it is.
    link: Link,
    addresses: Vec<Address>,
}

/// What was moved is in the list even where the rest failed.
fn one(own: &Side, theirs: &Side, device: &NetDevice, moved: &mut Vec<Moved>) -> Result<()> {
    let missing = || Error::Other(format!("no network interface has the name {:?}", device.host));
    let before = own.find(&device.host)?.ok_or_else(missing)?;
    if theirs.find(&device.name)?.is_some() {
        return Err(Error::Other(format!("the container's network namespace has an interface {:?} already", device.name)));
    }
    let mut addresses = own.netlink.addresses(before.index)?;
    addresses.retain(Address::is_permanent_and_global);
    let link = transfer(own, theirs, &before, &device.name)?;
    let there = Moved { before, link, addresses };
    let settled = settle(theirs, &there.link, &there.addresses, true);
    moved.push(there);
    settled
}

/// Moves an interface, and finds it on the other side: its number may be another there, and its name too.
fn transfer(from: &Side, to: &Side, link: &Link, name: &str) -> Result<Link> {
    let before = to.netlink.links()?;
    from.netlink.move_link(link, &to.namespace, name)?;
    let new = to.netlink.links()?.into_iter().find(|link| before.iter().all(|other| other.index != link.index));
    new.ok_or_else(|| Error::Other(format!("network interface {:?} left and did not arrive", link.name)))
}

fn settle(side: &Side, link: &Link, addresses: &[Address], up: bool) -> Result<()> {
    for address in addresses {
        side.netlink.add_address(link, address)?;
    }
    if up { Ok(side.netlink.set_up(link)?) } else { Ok(()) }
}

fn give_back(own: &Side, theirs: &Side, moved: &Moved) -> Result<()> {
    let link = transfer(theirs, own, &moved.link, &moved.before.name)?;
    settle(own, &link, &moved.addresses, moved.before.up)
}
