//! The engine in virtual time: random operations against a model, properties, scenarios.

mod sim {
    mod crowd;
    mod duplicate;
    mod epochs;
    mod failover;
    mod flaps;
    mod flood;
    mod hash;
    mod idle;
    mod lead;
    mod links;
    mod metered;
    mod model;
    mod mtu;
    mod neighbours;
    mod random;
    mod rebinding;
    mod release;
    mod replay;
    mod scene;
    mod steady;
    mod throughput;
    mod wire;
}
