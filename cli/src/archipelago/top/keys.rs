//! What keys do.

use std::{io, time::Duration};

use ratatui::{
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    widgets::TableState,
};

/// The tables; one of them scrolls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// Ports of roles.
    Roles,
    /// Volumes.
    #[default]
    Volumes,
    /// All ports of the segment.
    Ports,
}

impl Pane {
    /// From top to bottom.
    pub(super) const ALL: [Pane; 3] = [Pane::Roles, Pane::Volumes, Pane::Ports];
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Draw again.
    Go,
    /// Enough seen.
    Quit,
}

/// What the person chose.
#[derive(Default)]
pub(super) struct View {
    /// The table that scrolls.
    pub(super) pane: Pane,
    /// How far each is scrolled.
    pub(super) scrolled: [TableState; 3],
    /// Whether figures stand still.
    pub(super) is_paused: bool,
}

impl View {
    /// Does what a key says.
    pub(super) fn act(&mut self, key: KeyCode) -> Action {
        let position = Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        let count = Pane::ALL.len();
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Tab => self.pane = Pane::ALL[(position + 1) % count],
            KeyCode::BackTab => self.pane = Pane::ALL[(position + count - 1) % count],
            KeyCode::Down | KeyCode::Char('j') => self.scrolled[position].scroll_down_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled[position].scroll_up_by(1),
            KeyCode::PageDown => self.scrolled[position].scroll_down_by(10),
            KeyCode::PageUp => self.scrolled[position].scroll_up_by(10),
            KeyCode::Home => self.scrolled[position].select_first(),
            KeyCode::End => self.scrolled[position].select_last(),
            _ => {}
        }
        Action::Go
    }
}

/// Waits for a key so long. Ctrl-C counts as `q`: the terminal does not make a signal of it now.
pub(super) fn wait(longest: Duration) -> io::Result<Option<KeyCode>> {
    if !event::poll(longest)? {
        return Ok(None);
    }
    match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Release => Ok(None),
        Event::Key(key) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            Ok((key.code == KeyCode::Char('c')).then_some(KeyCode::Char('q')))
        }
        Event::Key(key) => Ok(Some(key.code)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tab_goes_round_and_back_tab_the_other_way() {
        let mut view = View::default();
        let after = |view: &mut View, key| {
            assert_eq!(view.act(key), Action::Go);
            view.pane
        };
        assert_eq!(after(&mut view, KeyCode::Tab), Pane::Ports);
        assert_eq!(after(&mut view, KeyCode::Tab), Pane::Roles);
        assert_eq!(after(&mut view, KeyCode::BackTab), Pane::Ports);
        assert_eq!(view.act(KeyCode::Char('q')), Action::Quit);
    }
}
