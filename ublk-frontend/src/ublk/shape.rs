//! What the kernel is told about the disk, and whether it has understood.
//!
//! * `chunk_sectors` is the cluster when that is a power of two: no read or write then crosses a cluster.
//! * Volatile cache and FUA: the kernel sends flushes, and marks the writes that must be durable by themselves.
//! * A discard is capped, so that the work that one request makes is bounded.
//! * Flags and parameters that the kernel does not know are dropped by it without a word: so they are compared.

use ploop_core::Geometry;

use crate::ublk::sys::{ParamBasic, ParamDiscard, Params, attr, param};

/// Most bytes of a request, and so of a guest buffer.
const MOST_BYTES: u64 = 1 << 20;
/// Smallest cluster that requests are split at.
const LEAST_CHUNK: u64 = 4096;
/// Most clusters of a discard.
const DISCARD_CLUSTERS: u64 = 1024;

/// What the disk is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of the core.
    pub geometry: Geometry,
    /// Writes are refused.
    pub read_only: bool,
    /// Logical block size in bytes: 512 or 4096.
    pub block: u32,
    /// The guest's own pages go to files opened for direct I/O.
    pub lends_pages: bool,
}

impl Shape {
    fn chunk(&self) -> Option<u64> {
        let cluster = self.geometry.cluster.bytes();
        (cluster.is_power_of_two() && cluster >= LEAST_CHUNK).then_some(cluster)
    }

    /// Most bytes of a request.
    #[must_use]
    pub fn request_bytes(&self) -> u32 {
        self.chunk().unwrap_or(MOST_BYTES).min(MOST_BYTES) as u32
    }

    /// Sectors of the disk: whole blocks.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        let block = u64::from(self.block / 512);
        self.geometry.size.0 / block * block
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> Params {
        let cluster = self.geometry.cluster.bytes();
        let mut attrs = attr::VOLATILE_CACHE | attr::FUA;
        if self.read_only {
            attrs = attr::READ_ONLY;
        }
        let basic = ParamBasic {
            attrs,
            logical_bs_shift: self.block.trailing_zeros() as u8,
            physical_bs_shift: 12,
            io_opt_shift: self
                .chunk()
                .map_or(12, |chunk| chunk.trailing_zeros().min(31) as u8),
            io_min_shift: 12,
            max_sectors: self.request_bytes() / 512,
            chunk_sectors: self.chunk().map_or(0, |chunk| (chunk / 512) as u32),
            dev_sectors: self.sectors(),
            virt_boundary_mask: 0,
        };
        let mut params = Params {
            len: size_of::<Params>() as u32,
            types: param::BASIC,
            basic,
            ..Params::default()
        };
        if !self.read_only {
            let most = (DISCARD_CLUSTERS * cluster).min(u64::from(u32::MAX));
            let whole = (most / cluster * cluster).max(cluster) / 512;
            params.types |= param::DISCARD;
            params.discard = ParamDiscard {
                discard_granularity: cluster as u32,
                max_discard_sectors: whole as u32,
                max_write_zeroes_sectors: whole as u32,
                max_discard_segments: 1,
                ..ParamDiscard::default()
            };
        }
        if self.lends_pages {
            params.types |= param::DMA_ALIGN;
            params.dma_alignment = self.block - 1;
        }
        params
    }
}

/// What the kernel did not take of `asked`, in words.
#[must_use]
pub fn difference(asked: &Params, got: &Params) -> Option<String> {
    let lost = asked.types & !got.types;
    if lost != 0 {
        return Some(format!("it does not know parameters of type {lost:#x}"));
    }
    if asked.basic != got.basic {
        return Some(format!(
            "basic parameters: asked for {:?}, got {:?}",
            asked.basic, got.basic
        ));
    }
    if asked.types & param::DISCARD != 0 && asked.discard != got.discard {
        return Some(format!(
            "discard parameters: asked for {:?}, got {:?}",
            asked.discard, got.discard
        ));
    }
    if asked.types & param::DMA_ALIGN != 0 && asked.dma_alignment != got.dma_alignment {
        return Some(format!(
            "memory alignment: asked for {:#x}, got {:#x}",
            asked.dma_alignment, got.dma_alignment
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploop_core::units::Sectors;

    fn shape(cluster: u64, size: u64) -> Shape {
        Shape {
            geometry: Geometry {
                size: Sectors(size),
                cluster: Sectors(cluster),
                entries: 1,
                pages: 1,
                levels: 1,
            },
            read_only: false,
            block: 512,
            lends_pages: false,
        }
    }

    #[test]
    fn a_megabyte_cluster() {
        let params = shape(2048, 1 << 21).params();
        assert_eq!(params.basic.chunk_sectors, 2048);
        assert_eq!(params.basic.max_sectors, 2048);
        assert_eq!(params.basic.io_opt_shift, 20);
        assert_eq!(params.basic.attrs, attr::VOLATILE_CACHE | attr::FUA);
        assert_eq!(params.discard.discard_granularity, 1 << 20);
        assert_eq!(params.discard.max_discard_sectors, 2 << 20);
        assert_eq!(params.types, param::BASIC | param::DISCARD);
    }

    #[test]
    fn small_odd_and_huge_clusters() {
        let small = shape(128, 1 << 20);
        assert_eq!(small.request_bytes(), 65536);
        let odd = shape(2049, 1 << 20).params();
        assert_eq!((odd.basic.chunk_sectors, odd.basic.max_sectors), (0, 2048));
        assert_eq!(odd.discard.max_discard_sectors % 2049, 0);
        let huge = shape(4_185_922, 1 << 30).params();
        assert_eq!(huge.discard.max_discard_sectors % 4_185_922, 0);
        assert!(huge.discard.max_discard_sectors > 0);
        assert!(u64::from(huge.discard.max_discard_sectors) * 512 <= u64::from(u32::MAX));
        let tiny = shape(1, 1 << 20).params();
        assert_eq!(
            (tiny.basic.chunk_sectors, tiny.basic.max_sectors),
            (0, 2048)
        );
    }

    #[test]
    fn blocks_of_4096_cut_an_odd_end_and_read_only_disks_have_no_discard() {
        let shape = Shape {
            block: 4096,
            read_only: true,
            lends_pages: true,
            ..shape(2048, 4099)
        };
        let params = shape.params();
        assert_eq!(params.basic.dev_sectors, 4096);
        assert_eq!(params.basic.logical_bs_shift, 12);
        assert_eq!(params.basic.attrs, attr::READ_ONLY);
        assert_eq!(params.types, param::BASIC | param::DMA_ALIGN);
        assert_eq!(params.dma_alignment, 4095);
    }

    #[test]
    fn what_the_kernel_dropped_is_seen() {
        let asked = shape(2048, 4096).params();
        assert_eq!(difference(&asked, &asked), None);
        let mut got = asked;
        got.types = param::BASIC;
        assert!(difference(&asked, &got).is_some());
        let mut got = asked;
        got.basic.chunk_sectors = 0;
        assert!(difference(&asked, &got).is_some());
        let mut got = asked;
        got.discard.max_discard_sectors -= 1;
        assert!(difference(&asked, &got).is_some());
        // The kernel fills this in.
        let mut got = asked;
        got.devt = [1; 4];
        assert_eq!(difference(&asked, &got), None);
    }
}
