//! The engine in virtual time: random operations against a model, properties, scenarios.

mod sim {
    mod links;
    mod model;
    mod random;
    mod release;
    mod replay;
}
