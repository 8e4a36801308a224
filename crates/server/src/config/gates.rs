//! Feature gates: switches for features that are not settled, given together as
//! `--feature-gates=A=true,B=false`.

use std::collections::BTreeMap;
use std::fmt;

use super::go::{NumberError, parse_bool};
use super::value::{Refusal, Setting};
use super::yaml::Node;

/// How settled a gate's feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

/// A feature that can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Switches every alpha feature that is not switched by name.
    AllAlpha,
    /// Switches every beta feature that is not switched by name.
    AllBeta,
    /// The leader compares the members' hashes after compactions.
    CompactHashCheck,
    /// The leader renews leases without waiting for its applied index.
    FastLeaseKeepAlive,
    /// A member compares its hash with the others' before it serves.
    InitialCorruptCheck,
    /// The leader tells the members how long leases still live.
    LeaseCheckpoint,
    /// Members keep what `LeaseCheckpoint` tells them across restarts.
    LeaseCheckpointPersist,
    /// Some requests go before others under overload.
    PriorityRequest,
    /// Peers are dialed from an advertised address.
    SetMemberLocalAddr,
    /// The gRPC service pauses during defragmentation.
    StopGRPCServiceOnDefrag,
    /// Transactions that write share a buffer with reads.
    TxnModeWriteWithSharedBuffer,
}

impl Feature {
    const ALL: [Self; 11] = [
        Self::AllAlpha,
        Self::AllBeta,
        Self::CompactHashCheck,
        Self::FastLeaseKeepAlive,
        Self::InitialCorruptCheck,
        Self::LeaseCheckpoint,
        Self::LeaseCheckpointPersist,
        Self::PriorityRequest,
        Self::SetMemberLocalAddr,
        Self::StopGRPCServiceOnDefrag,
        Self::TxnModeWriteWithSharedBuffer,
    ];

    /// Returns the name of the gate.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllAlpha => "AllAlpha",
            Self::AllBeta => "AllBeta",
            Self::CompactHashCheck => "CompactHashCheck",
            Self::FastLeaseKeepAlive => "FastLeaseKeepAlive",
            Self::InitialCorruptCheck => "InitialCorruptCheck",
            Self::LeaseCheckpoint => "LeaseCheckpoint",
            Self::LeaseCheckpointPersist => "LeaseCheckpointPersist",
            Self::PriorityRequest => "PriorityRequest",
            Self::SetMemberLocalAddr => "SetMemberLocalAddr",
            Self::StopGRPCServiceOnDefrag => "StopGRPCServiceOnDefrag",
            Self::TxnModeWriteWithSharedBuffer => "TxnModeWriteWithSharedBuffer",
        }
    }

    /// In this release an alpha feature is off unless it is switched on, a beta feature on unless
    /// it is switched off.
    fn stage(self) -> Stage {
        match self {
            Self::FastLeaseKeepAlive | Self::TxnModeWriteWithSharedBuffer | Self::AllBeta => {
                Stage::Beta
            }
            Self::AllAlpha
            | Self::CompactHashCheck
            | Self::InitialCorruptCheck
            | Self::LeaseCheckpoint
            | Self::LeaseCheckpointPersist
            | Self::PriorityRequest
            | Self::SetMemberLocalAddr
            | Self::StopGRPCServiceOnDefrag => Stage::Alpha,
        }
    }

    fn default(self) -> bool {
        self.stage() == Stage::Beta && self != Self::AllBeta
    }
}

/// The gates that were switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    switched: BTreeMap<Feature, bool>,
}

impl FeatureGates {
    /// Returns whether a feature is on.
    pub fn enabled(&self, feature: Feature) -> bool {
        self.switched.get(&feature).copied().unwrap_or_else(|| feature.default())
    }

    /// Returns what was asked for, if the feature was named, alone or with others of its stage.
    pub fn named(&self, feature: Feature) -> Option<bool> {
        self.switched.get(&feature).copied()
    }

    /// Returns the features that stand differently from their defaults.
    pub fn changed(&self) -> impl Iterator<Item = Feature> + '_ {
        self.switched.iter().filter(|(gate, on)| gate.default() != **on).map(|(gate, _)| *gate)
    }

    /// Switches one feature.
    pub(super) fn switch(&mut self, feature: Feature, on: bool) {
        self.switched.insert(feature, on);
    }

    /// Returns the lines of the help text, one for each gate.
    pub(super) fn describe() -> Vec<String> {
        let line = |feature: Feature| {
            let stage = match feature.stage() {
                Stage::Alpha => "ALPHA",
                Stage::Beta => "BETA",
            };
            format!("{}=true|false ({stage} - default={})", feature.name(), feature.default())
        };
        Feature::ALL.into_iter().map(line).collect()
    }

    fn parse(text: &str) -> Result<BTreeMap<Feature, bool>, String> {
        let mut asked = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("missing bool value for {}", pair.trim()));
            };
            let (name, value) = (name.trim(), value.trim());
            let Some(on) = parse_bool(value) else {
                let reason = NumberError::Syntax.strconv_text("ParseBool", value);
                return Err(format!("invalid value of {name}={value}, err: {reason}"));
            };
            asked.insert(name, on);
        }
        let mut gates = BTreeMap::new();
        for (name, on) in asked {
            let known = Feature::ALL.into_iter().find(|feature| feature.name() == name);
            let feature = known.ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            gates.insert(feature, on);
        }
        Ok(gates)
    }
}

impl fmt::Display for FeatureGates {
    /// Writes the switched gates as `A=true,B=false`, by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (feature, on)) in self.switched.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}={on}", feature.name())?;
        }
        Ok(())
    }
}

impl Setting for FeatureGates {
    const GO_TYPE: &'static str = "string";
    const IS_INDIRECT: bool = true;

    /// Adds to what is switched already, so the flag may be repeated.
    fn set(&mut self, text: &str) -> Result<(), String> {
        let asked = Self::parse(text)?;
        for (all, stage) in [(Feature::AllAlpha, Stage::Alpha), (Feature::AllBeta, Stage::Beta)] {
            let Some(on) = asked.get(&all) else { continue };
            for feature in Feature::ALL.into_iter().filter(|feature| feature.stage() == stage) {
                self.switched.entry(feature).or_insert(*on);
            }
        }
        self.switched.extend(asked);
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        match node {
            Node::Text(text) => self.set(text).map_err(Refusal::Value),
            other => Err(Refusal::Type(other.type_name().to_owned())),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], shown: &str) {
        let mut gates = FeatureGates::default();
        for text in given {
            gates.set(text).expect("every gate is known");
        }
        assert_eq!(gates.to_string(), shown, "{given:?}");
    }

    #[test]
    fn repeated_flags_add_up_and_the_last_word_on_a_gate_wins() {
        check(
            &["CompactHashCheck=true", " PriorityRequest = 1 ,"],
            "CompactHashCheck=true,PriorityRequest=true",
        );
        check(&["CompactHashCheck=true", "CompactHashCheck=false"], "CompactHashCheck=false");
    }

    #[test]
    fn all_of_a_stage_leaves_what_is_switched_by_name() {
        check(
            &["AllAlpha=true,LeaseCheckpoint=false"],
            "AllAlpha=true,CompactHashCheck=true,InitialCorruptCheck=true,LeaseCheckpoint=false,\
             LeaseCheckpointPersist=true,PriorityRequest=true,SetMemberLocalAddr=true,\
             StopGRPCServiceOnDefrag=true",
        );
        check(
            &["AllBeta=false"],
            "AllBeta=false,FastLeaseKeepAlive=false,TxnModeWriteWithSharedBuffer=false",
        );
    }

    #[test]
    fn defaults_follow_the_stage() {
        let gates = FeatureGates::default();
        let on: Vec<&str> =
            Feature::ALL.into_iter().filter(|f| gates.enabled(*f)).map(Feature::name).collect();
        assert_eq!(on, ["FastLeaseKeepAlive", "TxnModeWriteWithSharedBuffer"]);
    }
}
