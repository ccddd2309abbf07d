//! rtnetlink(7): network interfaces and their addresses, in the network namespace in which the socket was opened.

use super::{Errno, Error, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// So long a message may be that the kernel sends.
const MESSAGE_MAX: usize = 64 << 10;

/// A socket.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// Whether it is set up.
    pub up: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether it was given to the interface for good and is meant for the whole world: not found by the interface itself, nor for the link alone.
    #[must_use]
    pub fn is_permanent_and_global(&self) -> bool {
        const IFA_F_PERMANENT: u32 = 0x80;
        const RT_SCOPE_UNIVERSE: u8 = 0;
        self.flags & IFA_F_PERMANENT != 0 && self.scope == RT_SCOPE_UNIVERSE
    }
}

impl Netlink {
    /// A socket in this process's network namespace.
    ///
    /// # Errors
    /// The errno of `socket(2)`.
    pub fn open() -> Result<Netlink> {
        let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Netlink, kind.0, kind.1, SockProtocol::NetlinkRoute).map_err(|e| Error::bare("socket", e))?;
        Ok(Netlink { socket, sequence: Cell::new(1) })
    }

    /// The interfaces.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn links(&self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        self.dump(libc::RTM_GETLINK, &ifinfo(0, 0, 0), "RTM_GETLINK", |body| {
            let index = i32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
            let flags = u32::from_ne_bytes(*body.get(8..)?.first_chunk()?);
            let name = attributes(body.get(16..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
            let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned();
            links.push(Link { index, name, up: flags & libc::IFF_UP.cast_unsigned() != 0 });
            Some(())
        })?;
        Ok(links)
    }

    /// The addresses of an interface, of every family.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.dump(libc::RTM_GETADDR, &[0; 8], "RTM_GETADDR", |body| {
            let [family, prefix, flags, scope] = *body.first_chunk()?;
            if i32::from_ne_bytes(*body.get(4..)?.first_chunk()?) != index {
                return None;
            }
            let all: Vec<(u16, Vec<u8>)> = attributes(body.get(8..)?).map(|(kind, value)| (kind, value.to_vec())).collect();
            let long =
                all.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, value)| Some(u32::from_ne_bytes(*value.first_chunk()?)));
            let kept = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY];
            let attributes = all.into_iter().filter(|(kind, _)| kept.contains(kind)).collect();
            addresses.push(Address { family, prefix, scope, flags: long.unwrap_or(flags.into()), attributes });
            Some(())
        })?;
        Ok(addresses)
    }

    /// Puts an interface into another network namespace, under this name. It is down then, and has no address.
    ///
    /// # Errors
    /// The errno of the request: `EEXIST` where the name is taken there, `EINVAL` of an interface that cannot leave its namespace.
    pub fn move_link(&self, link: &Link, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut body = ifinfo(link.index, 0, 0);
        attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        attribute(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        self.change(libc::RTM_SETLINK, 0, &body, &format!("RTM_SETLINK {:?}", link.name))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The errno of the request.
    pub fn set_up(&self, link: &Link) -> Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        self.change(libc::RTM_SETLINK, 0, &ifinfo(link.index, up, up), &format!("RTM_SETLINK {:?} up", link.name))
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The errno of the request: `EACCES` of an address of IPv6 where that is switched off.
    pub fn add_address(&self, link: &Link, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(link.index.to_ne_bytes());
        attribute(&mut body, IFA_FLAGS, &address.flags.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value);
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        match self.change(libc::RTM_NEWADDR, flags, &body, &format!("RTM_NEWADDR {:?}", link.name)) {
            Err(Error { errno: Errno::EEXIST, .. }) => Ok(()),
            other => other,
        }
    }

    /// A request that is answered by success or an errno, with the kernel's own words where it has some.
    fn change(&self, kind: u16, flags: i32, body: &[u8], call: &str) -> Result<()> {
        let on: libc::c_int = 1;
        let (at, length) = ((&raw const on).cast(), libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(0));
        // SAFETY: the option is an integer, which is there. That it is not known is no error: only words depend on it.
        unsafe { libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, at, length) };
        self.request(kind, flags | libc::NLM_F_ACK, body, call, |_| None)
    }

    fn dump(&self, kind: u16, body: &[u8], call: &str, each: impl FnMut(&[u8]) -> Option<()>) -> Result<()> {
        self.request(kind, libc::NLM_F_DUMP, body, call, each)
    }

    /// Sends a request and reads the answers up to the last; `each` gets the body of those that are no end.
    fn request(&self, kind: u16, flags: i32, body: &[u8], call: &str, mut each: impl FnMut(&[u8]) -> Option<()>) -> Result<()> {
        let failed = |errno| Error::bare(call, errno);
        let sequence = self.sequence.replace(self.sequence.get() + 1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| failed(Errno::EMSGSIZE))?;
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).map_err(|_| failed(Errno::EINVAL))?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        let socket = self.socket.as_raw_fd();
        send(socket, &message, MsgFlags::empty()).map_err(failed)?;
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let n = match recv(socket, &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other.map_err(failed)?,
            };
            for (kind, answers, body) in messages(&buffer[..n]) {
                match i32::from(kind) {
                    _ if answers != sequence => {}
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return answer(body, call),
                    _ => drop(each(body)),
                }
            }
        }
    }
}

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;

/// The messages in a datagram: type, sequence number, body.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok().filter(|n| *n >= HEADER)?;
        let message = datagram.get(..length)?;
        let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
        let sequence = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, &message[HEADER..]))
    })
}

/// `struct nlmsgerr`: an errno, the header of the request (and its body, if it failed), then attributes.
fn answer(body: &[u8], call: &str) -> Result<()> {
    let errno = body.first_chunk().map_or(libc::EPROTO, |bytes| -i32::from_ne_bytes(*bytes));
    if errno == 0 {
        return Ok(());
    }
    let request = body.get(4..).and_then(|request| usize::try_from(u32::from_ne_bytes(*request.first_chunk()?)).ok());
    let words =
        request.and_then(|length| attributes(body.get(4 + length.next_multiple_of(4)..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG));
    let words = words.map(|(_, text)| String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned());
    let call = words.map_or_else(|| call.to_owned(), |words| format!("{call} ({words})"));
    Err(Error::bare(&call, Errno::from_raw(errno)))
}

/// `struct ifinfomsg`
fn ifinfo(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

/// Appends a `struct rtattr` with its value.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there() {
        let links = Netlink::open().and_then(|netlink| netlink.links()).expect("anybody may ask");
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1), "{links:?}");
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_errno() {
        let netlink = Netlink::open().expect("anybody may ask");
        let error = netlink.set_up(&Link { index: i32::MAX, name: "none".to_owned(), up: false }).expect_err("there is no such interface");
        assert!(matches!(error.errno, Errno::ENODEV | Errno::EPERM), "{error}");
        assert!(error.call.starts_with("RTM_SETLINK \"none\""), "{error}");
    }

    #[test]
    fn attributes_are_padded_and_read_again() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 3, b"lo\0");
        attribute(&mut bytes, 9, &[1, 2, 3, 4]);
        assert_eq!(bytes.len(), 16);
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(3, b"lo\0".as_slice()), (9, &[1, 2, 3, 4])]);
        assert_eq!(attributes(&bytes[..5]).count(), 0, "a torn one is none");
    }
}
