//! Operations on files that are refused, with nothing written.

use ploop_core::control::files::{ControlError, SlotMove, update_index};
use ploop_core::load;
use ploop_core::units::{Clu, DstClu};

use crate::sparse::{Picture, Sparse};

/// Four host clusters, header and BAT in the first; the last two are free.
fn image() -> Sparse {
    Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: 8,
        entries: 4,
        file: 32,
        slots: &[(2, 1)],
    })
}

fn moved(file: &Sparse, to: u32) -> Result<u32, ControlError> {
    let step = SlotMove {
        clu: Clu(2),
        from: DstClu(1),
        to: DstClu(to),
    };
    update_index(file, "image", &[step])
}

#[test]
fn a_slot_is_not_pointed_out_of_the_data_area() {
    for to in [0, 4, 5, u32::MAX] {
        let file = image();
        let done = moved(&file, to);
        assert!(
            matches!(done, Err(ControlError::Refused { .. })),
            "[refused] moved to cluster {to}: {done:?}"
        );
        assert_eq!(file.changes.get(), 0, "[refused] written, to cluster {to}");
    }
    for to in [2, 3] {
        let file = image();
        assert_eq!(moved(&file, to).expect("a free cluster"), 1);
        let delta = load::load(&file, "image").expect("sound");
        let image = delta.expanded().expect("an image");
        assert_eq!(image.bat[2], to);
        assert_eq!(image.layout.version, Sparse::VERSION);
    }
}
