use super::levels;
use crate::*;

/// The examples of C2SP tlog-tiles.
#[test]
fn the_published_paths() {
    let path = |level, index, width| Tile { level, index, width }.to_string();
    assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(0, 0, 256), "tile/0/000");
    assert_eq!(path(1, 999, 255), "tile/1/999.p/255");
    assert_eq!(path(2, 1000, 1), "tile/2/x001/000.p/1");
    assert_eq!(path(0, 273, 112), "tile/0/273.p/112");
    // A tree of size 70,000, and one of 256.
    let of = |size, level| {
        let full = level_len(size, level) / TILE_WIDTH;
        (full, Tile::of(size, level, full).map(|tile| tile.width))
    };
    assert_eq!([of(70_000, 0), of(70_000, 1), of(70_000, 2)], [(273, Some(112)), (1, Some(17)), (0, Some(1))]);
    assert_eq!([of(256, 0), of(256, 1), of(256, 2)], [(1, None), (0, Some(1)), (0, None)]);
}

#[test]
fn every_path_has_one_text_and_nothing_else_is_one() {
    for index in [0, 1, 9, 10, 99, 100, 999, 1000, 999_999, 1_000_000, 1_234_067_891] {
        for (level, width) in [(0, 256), (1, 1), (3, 255)] {
            let tile = Tile { level, index, width };
            assert_eq!(tile.to_string().parse(), Ok(tile));
        }
    }
    for bad in [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/00/000",
        "tile/8/000",
        "tile/63/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/x002",
        "tile/0/0001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/000",
        "tile/0/..%2f001",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/7/001",
    ] {
        assert_eq!(bad.parse::<Tile>(), Err(TilePathError), "{bad}");
    }
    assert!("tile/7/000.p/127".parse::<Tile>().is_ok() && "tile/7/000.p/128".parse::<Tile>().is_err());
}

#[test]
fn fetched_tiles_have_the_width_that_was_asked_for_or_all() {
    let log = levels(1, 600);
    let tile = Tile::of(600, 0, 1).unwrap();
    let bytes = log.tile(tile).unwrap();
    let partial = Tile { width: 9, ..tile };
    let mut fetched = Fetched::default();
    assert_eq!(fetched.insert(partial, &bytes), Ok(()));
    assert_eq!(fetched.read(0, 256, 4).unwrap(), log.read(0, 256, 4).unwrap());
    assert!(fetched.read(0, 510, 4).is_err() && fetched.read(0, 0, 1).is_err());
    assert!(fetched.insert(tile, &bytes[..bytes.len() - 32]).is_err());
    assert!(fetched.insert(partial, &bytes[..bytes.len() - 1]).is_err());
    assert!(fetched.insert(tile, &[&bytes[..], &[0; 32]].concat()).is_err());
    assert!(Tile::of(600, 0, 3).is_none() && Tile::of(600, 1, 0).is_some_and(|tile| tile.width == 2));
    assert!(Tile::of(600, 0, u64::MAX).is_none() && Tile::of(600, 200, 0).is_none());
}
