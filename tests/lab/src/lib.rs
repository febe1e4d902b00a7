//! Namespaces, link emulator and traffic tools.
