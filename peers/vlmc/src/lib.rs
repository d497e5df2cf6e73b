//! vlmc: see ARCHITECTURE.md.
