//! `memoryPolicy`: on which NUMA nodes the container's memory is, by the rules of set_mempolicy(2).

use crate::compile::list;
use crate::compile::plan::Plan;
use crate::config::spec::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};
use crate::config::{Invalid, Pointer};
use aril_plan::Op;

/// The modes of the specification.
pub const MODES: [MemoryPolicyModeType; 7] = [
    MemoryPolicyModeType::MpolDefault,
    MemoryPolicyModeType::MpolPreferred,
    MemoryPolicyModeType::MpolBind,
    MemoryPolicyModeType::MpolInterleave,
    MemoryPolicyModeType::MpolLocal,
    MemoryPolicyModeType::MpolPreferredMany,
    MemoryPolicyModeType::MpolWeightedInterleave,
];

/// The flags of the specification.
pub const FLAGS: [MemoryPolicyFlagType; 3] =
    [MemoryPolicyFlagType::MpolFNumaBalancing, MemoryPolicyFlagType::MpolFRelativeNodes, MemoryPolicyFlagType::MpolFStaticNodes];

/// `MAX_NUMNODES` of the largest kernels.
const NODES_MAX: u32 = 1024;

/// Whether a mode is about nodes.
enum Nodes {
    None,
    Some,
    /// None is the node that asks.
    Any,
}

/// Sets the policy that stands at the pointer; the process's children have it, too.
///
/// # Errors
/// Nodes or flags are given that the mode does not take, nodes are missing that it needs, or `nodes` is no list.
pub fn set(plan: &mut Plan, policy: Option<&LinuxMemoryPolicy>, at: &Pointer) -> Result<(), Invalid> {
    let Some(policy) = policy else { return Ok(()) };
    let mode = policy.mode();
    let (number, takes) = match mode {
        MemoryPolicyModeType::MpolDefault => (0, Nodes::None),
        MemoryPolicyModeType::MpolPreferred => (1, Nodes::Any),
        MemoryPolicyModeType::MpolBind => (2, Nodes::Some),
        MemoryPolicyModeType::MpolInterleave => (3, Nodes::Some),
        MemoryPolicyModeType::MpolLocal => (4, Nodes::None),
        MemoryPolicyModeType::MpolPreferredMany => (5, Nodes::Some),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, Nodes::Some),
    };
    let at_nodes = at.of("nodes");
    let nodes = list::mask(policy.nodes().as_deref().unwrap_or_default(), "node", NODES_MAX, &at_nodes)?;
    match takes {
        Nodes::None if !nodes.is_empty() => return Err(Invalid::new(&at_nodes, format!("{mode} takes no nodes"))),
        Nodes::Some if nodes.is_empty() => return Err(Invalid::new(&at_nodes, format!("{mode} needs at least one node"))),
        _ => {}
    }
    let flags = flags(policy, &takes, &at.of("flags"))?;
    let nodes: Vec<u8> = nodes.into_iter().flat_map(u64::to_le_bytes).collect();
    plan.part(at, format!("cannot set the memory policy {mode}"));
    plan.push(Op::MemoryPolicy { mode: number | flags, nodes: &nodes });
    Ok(())
}

/// `MPOL_F_*`, which are part of the mode.
fn flags(policy: &LinuxMemoryPolicy, takes: &Nodes, at: &Pointer) -> Result<u32, Invalid> {
    use MemoryPolicyFlagType as Flag;
    const STATIC_AND_RELATIVE: u32 = 1 << 15 | 1 << 14;
    let mut bits = 0;
    for (i, flag) in policy.flags().iter().flatten().enumerate() {
        bits |= match flag {
            Flag::MpolFStaticNodes => 1 << 15,
            Flag::MpolFRelativeNodes => 1 << 14,
            Flag::MpolFNumaBalancing => 1 << 13,
        };
        if matches!(takes, Nodes::None) {
            return Err(Invalid::new(&at.of(i), format!("{} takes no flags, but {flag} is given", policy.mode())));
        }
        if bits & STATIC_AND_RELATIVE == STATIC_AND_RELATIVE {
            return Err(Invalid::new(&at.of(i), "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"));
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::describe;
    use serde_json::{Value, json};

    fn steps(policy: Value) -> Result<Vec<String>, Invalid> {
        let policy: LinuxMemoryPolicy = serde_json::from_value(policy).expect("the types are right");
        let mut plan = Plan::default();
        set(&mut plan, Some(&policy), &Pointer::to("/linux/memoryPolicy"))?;
        Ok(plan.steps().map(|(_, op)| describe::step(&op)).collect())
    }

    #[test]
    fn a_policy_is_a_mode_with_flags_and_a_mask() {
        for (policy, step) in [
            (json!({"mode": "MPOL_DEFAULT"}), "MemoryPolicy mode 0x0, nodes 0x0"),
            (json!({"mode": "MPOL_LOCAL", "nodes": ""}), "MemoryPolicy mode 0x4, nodes 0x0"),
            (json!({"mode": "MPOL_PREFERRED", "nodes": ""}), "MemoryPolicy mode 0x1, nodes 0x0"),
            (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "MemoryPolicy mode 0x8002, nodes 0x1"),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-3,7", "flags": ["MPOL_F_RELATIVE_NODES"]}),
                "MemoryPolicy mode 0x4003, nodes 0x8f",
            ),
            (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "64"}), "MemoryPolicy mode 0x5, nodes 0x10000000000000000"),
            (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "1"}), "MemoryPolicy mode 0x6, nodes 0x2"),
            (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}), "MemoryPolicy mode 0x2002, nodes 0x1"),
        ] {
            assert_eq!(steps(policy.clone()), Ok(vec![step.to_owned()]), "{policy}");
        }
    }

    #[test]
    fn what_a_mode_does_not_take_is_refused_with_its_place() {
        for (policy, key) in [
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0"}), "nodes"),
            (json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "nodes"),
            (json!({"mode": "MPOL_BIND"}), "nodes"),
            (json!({"mode": "MPOL_INTERLEAVE", "nodes": ""}), "nodes"),
            (json!({"mode": "MPOL_BIND", "nodes": "1024"}), "nodes"),
            (json!({"mode": "MPOL_BIND", "nodes": "1-0"}), "nodes"),
            (json!({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}), "flags/0"),
            (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}), "flags/1"),
        ] {
            let error = steps(policy.clone()).expect_err(&policy.to_string());
            assert_eq!(error.at.as_str(), format!("/linux/memoryPolicy/{key}"), "{policy}");
        }
    }
}
