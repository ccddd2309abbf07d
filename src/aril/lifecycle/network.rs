//! The network interfaces of a container, for its statistics.

use crate::sys;
use serde::Serialize;
use std::path::Path;

/// What went through an interface, in runc's spelling of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// The interfaces of the network namespace of a process, but for the loopback interface; none where that is the host's.
#[must_use]
pub fn interfaces(pid: i32) -> Vec<Interface> {
    let proc = Path::new("/proc").join(pid.to_string());
    // A process that has ended in the meantime has none.
    match sys::process::own_namespace(&proc.join("ns/net")) {
        Ok(None) => parse(&sys::fs::read_text(&proc.join("net/dev"), 1 << 24).unwrap_or_default()),
        _ => Vec::new(),
    }
}

/// Two lines of heads, then `eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …` (proc(5)).
fn parse(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = numbers[..] else {
            return None;
        };
        let name = name.trim().to_owned();
        Some(Interface { name, rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped })
    };
    text.lines().skip(2).filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::{Interface, parse};

    #[test]
    fn interfaces_of_proc_net_dev() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    2000      20    1    2    3     4          5         6     3000      30    7    8    9    10      11         12
";
        let eth0 = Interface {
            name: "eth0".to_owned(),
            rx_bytes: 2000,
            rx_packets: 20,
            rx_errors: 1,
            rx_dropped: 2,
            tx_bytes: 3000,
            tx_packets: 30,
            tx_errors: 7,
            tx_dropped: 8,
        };
        let value = serde_json::to_value(&eth0).expect("JSON");
        assert_eq!((&value["Name"], &value["RxBytes"], &value["TxDropped"]), (&"eth0".into(), &2000.into(), &8.into()));
        assert_eq!(parse(text), [eth0]);
        assert!(parse("").is_empty());
    }
}
