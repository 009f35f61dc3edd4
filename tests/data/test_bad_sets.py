"""Data sets with one fault each: every one ends in one sentence that names the culprit."""

import struct
import zlib

import PIL.Image
import pytest

from prunekit.data.pairs import Clips, Folder, find_pairs, load_clips, load_pairs
from prunekit.data.patches import Patches, Window
from prunekit.errors import DataError
from prunekit.progress import Silent
from tests.data.samples import chunk, deep_png, deep_tiff, noise, write, write_pair


def pairs(root, scale=2, **options):
    lr = root / "lq" if (root / "lq").exists() else None
    return load_pairs(Folder(root / "gt", lr=lr), scale, progress=Silent(), **options)


def clips(root, window=None, **options):
    lr = root / "lq" if (root / "lq").exists() else None
    found = load_clips(Clips(root / "gt", lr=lr), 2, progress=Silent(), **options)
    return Patches(found, patch_size=4, seed=0, window=window or Window(3))


def good(root, count=2):
    for number in range(count):
        name = f"{number}.png"
        write_pair(root / "gt" / name, root / "lq" / name, number, 2)


def good_clip(root, name="walk", frames=3):
    for number in range(frames):
        write(root / "gt" / name / f"{number}.png", noise(number))


def no_folder(root):
    return pairs(root)


def a_file_for_a_folder(root):
    (root / "gt").touch()
    return pairs(root)


def an_empty_folder(root):
    (root / "gt").mkdir()
    return pairs(root)


def only_other_files(root):
    (root / "gt").mkdir()
    (root / "gt" / "a.txt").touch()
    return pairs(root)


def an_empty_lr_folder(root):
    write(root / "gt" / "0.png", noise(0))
    (root / "lq").mkdir()
    return pairs(root)


def an_lr_folder_that_is_a_file(root):
    write(root / "gt" / "0.png", noise(0))
    (root / "lq").touch()
    return pairs(root)


def an_empty_file(root):
    good(root)
    (root / "gt" / "1.png").write_bytes(b"")
    return pairs(root)


def a_truncated_image(root):
    good(root)
    content = (root / "gt" / "1.png").read_bytes()
    (root / "gt" / "1.png").write_bytes(content[: len(content) // 2])
    return pairs(root)


def a_text_called_png(root):
    good(root)
    (root / "gt" / "1.png").write_text("no image")
    return pairs(root)


def a_truncated_lr_image(root):
    good(root)
    content = (root / "lq" / "1.png").read_bytes()
    (root / "lq" / "1.png").write_bytes(content[: len(content) // 2])
    return pairs(root)


def no_lr_for_an_image(root):
    good(root)
    (root / "lq" / "1.png").unlink()
    return pairs(root)


def no_hr_for_an_image(root):
    good(root)
    (root / "gt" / "1.png").unlink()
    return pairs(root)


def lr_of_another_scale(root):
    good(root, count=1)
    return pairs(root, 3)


def lr_of_another_image(root):
    good(root)
    write(root / "lq" / "1.png", noise(1, (6, 8)))
    return pairs(root)


def lr_turned_on_its_side(root):
    good(root)
    write(root / "lq" / "1.png", noise(1, (9, 6)))
    return pairs(root)


def lr_as_large_as_hr(root):
    good(root)
    write(root / "lq" / "1.png", noise(1))
    return pairs(root)


def two_images_of_one_name(root):
    good(root)
    write(root / "gt" / "1.bmp", noise(1))
    return pairs(root)


def an_image_without_one_lr_pixel(root):
    write(root / "gt" / "1.png", noise(1, (1, 20)))
    return pairs(root)


def a_crop_that_no_scale_divides(root):
    good(root)
    return pairs(root, modcrop=5)


def an_image_smaller_than_the_crop(root):
    write(root / "gt" / "1.png", noise(1))
    return pairs(root, modcrop=40)


def an_image_smaller_than_a_patch(root):
    write(root / "gt" / "1.png", noise(1))
    return Patches(pairs(root), patch_size=16, seed=0)


def transparent_pixels(root):
    (root / "gt").mkdir()
    PIL.Image.new("RGBA", (20, 20), (0, 0, 0, 9)).save(root / "gt" / "1.png")
    return pairs(root)


def several_pictures_in_a_file(root):
    (root / "gt").mkdir()
    image = PIL.Image.fromarray(noise(0))
    other = PIL.Image.fromarray(noise(1))
    image.save(root / "gt" / "1.tif", save_all=True, append_images=[other])
    return pairs(root)


def float_pixels(root):
    (root / "gt").mkdir()
    PIL.Image.new("F", (20, 20)).save(root / "gt" / "1.tif")
    return pairs(root)


def colours_of_16_bits_in_tiff(root):
    (root / "gt").mkdir()
    (root / "gt" / "1.tif").write_bytes(deep_tiff(noise(0).astype("u2")))
    return pairs(root)


def a_transparent_colour_of_16_bits(root):
    (root / "gt").mkdir()
    samples = noise(0).astype("u2")
    samples[0, 0] = 1
    content = deep_png(samples, (b"tRNS", b"\0\1" * 3))
    (root / "gt" / "1.png").write_bytes(content)
    return pairs(root)


def damaged_pixels_of_16_bits(root):
    (root / "gt").mkdir()
    content = bytearray(deep_png(noise(0).astype("u2")))
    content[60] ^= 1
    (root / "gt" / "1.png").write_bytes(content)
    return pairs(root)


def a_link_that_leads_nowhere(root):
    good(root)
    (root / "gt" / "1.png").unlink()
    (root / "gt" / "1.png").symlink_to(root / "unmounted" / "1.png")
    return pairs(root)


def a_link_to_itself(root):
    good(root)
    (root / "lq" / "1.png").unlink()
    (root / "lq" / "1.png").symlink_to(root / "lq" / "1.png")
    return pairs(root)


def an_animation(root):
    (root / "gt").mkdir()
    image, other = (PIL.Image.fromarray(noise(seed)) for seed in range(2))
    image.save(root / "gt" / "1.png", save_all=True, append_images=[other])
    return pairs(root)


def a_gif_called_png(root):
    (root / "gt").mkdir()
    PIL.Image.fromarray(noise(0)).save(root / "gt" / "1.png", format="GIF")
    return pairs(root)


def larger_unpacked_than_memory(root, bits=8):
    head = struct.pack(">IIBBBBB", 60_000, 60_000, bits, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    (root / "gt").mkdir()
    (root / "gt" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return pairs(root)


def larger_unpacked_than_memory_of_16_bits(root):
    return larger_unpacked_than_memory(root, 16)


def folders_the_wrong_way_round(root):
    write_pair(root / "lq" / "1.png", root / "gt" / "1.png", 0, 2)
    return pairs(root)


def a_name_that_is_not_there(root):
    good(root)
    return load_pairs(Folder(root / "gt", names=("0", "eleven")), 2, progress=Silent())


def several_images_smaller_than_a_patch(root):
    write(root / "gt" / "0.png", noise(0, (40, 40)))
    for name in ("1", "2"):
        write(root / "gt" / f"{name}.png", noise(1))
    return Patches(pairs(root), patch_size=16, seed=0)


def several_faults_at_once(root):
    good(root, count=4)
    (root / "gt" / "1.png").write_bytes(b"")
    (root / "lq" / "2.png").unlink()
    return pairs(root)


def every_image_broken_and_skipped(root):
    good(root)
    for name in ("0", "1"):
        (root / "gt" / f"{name}.png").write_bytes(b"")
    return pairs(root, skip_unreadable=True)


def no_partner_where_images_are_found_one_by_one(root):
    good(root)
    (root / "lq" / "1.png").unlink()
    return find_pairs(Folder(root / "gt", lr=root / "lq"), 2)


def frames_of_two_depths(root):
    good_clip(root)
    (root / "gt" / "walk" / "1.png").write_bytes(deep_png(noise(0).astype("u2")))
    return clips(root, deep=True)


def images_where_clips_are_wanted(root):
    good(root)
    return clips(root)


def a_clip_without_frames(root):
    good_clip(root)
    (root / "gt" / "1").mkdir()
    return clips(root)


def a_clip_without_lr(root):
    good_clip(root, "1")
    write(root / "lq" / "2" / "0.png", noise(0))
    return clips(root)


def a_frame_without_lr(root):
    good_clip(root, "1")
    write(root / "lq" / "1" / "0.png", noise(0, (6, 9)))
    return clips(root)


def frames_of_two_sizes(root):
    good_clip(root)
    write(root / "gt" / "walk" / "1.png", noise(0, (20, 20)))
    return clips(root)


def a_broken_frame(root):
    good_clip(root)
    (root / "gt" / "walk" / "1.png").write_bytes(b"\x89PNG")
    return clips(root)


def a_clip_shorter_than_a_sample(root):
    good_clip(root, "1")
    return clips(root, Window(5))


def an_even_window_with_a_centre(root):
    good_clip(root)
    return clips(root, Window(2, "centre"))


FAULTS = {
    no_folder: "gt: No such file or directory; name a folder that holds them",
    a_file_for_a_folder: "gt: Not a directory",
    an_empty_folder: "gt holds no image; files ending in",
    only_other_files: "gt holds no image; files ending in",
    an_empty_lr_folder: "lq holds no image",
    an_lr_folder_that_is_a_file: "lq: Not a directory",
    an_empty_file: "1.png cannot be read",
    a_truncated_image: "1.png cannot be read",
    a_text_called_png: "1.png cannot be read: it is no whole BMP, JPEG, PNG, TIFF, WEBP file",
    a_truncated_lr_image: "lq/1.png cannot be read",
    no_lr_for_an_image: "gt/1.png has no LR: there is neither '1' nor '1x2'",
    no_hr_for_an_image: "lq/1.png is LR without an HR image",
    lr_of_another_scale: "9x6 pixels is not the 6x4 that scale 3 makes of",
    lr_of_another_image: "8x6 pixels is not the 9x6",
    lr_turned_on_its_side: "6x9 pixels is not the 9x6",
    lr_as_large_as_hr: "it would fit scale 1",
    two_images_of_one_name: "holds both 1.bmp and 1.png",
    an_image_without_one_lr_pixel: "1.png of 20x1 pixels is too small for scale 2",
    a_crop_that_no_scale_divides: "modcrop is 5, which is no multiple of the scale 2",
    an_image_smaller_than_the_crop: "1.png of 18x13 pixels is too small for modcrop 40",
    an_image_smaller_than_a_patch: "'1' is 9x6 pixels once reduced, smaller than a patch of 16x16",
    transparent_pixels: "1.png has transparent pixels; save it flattened",
    several_pictures_in_a_file: "1.tif holds 2 pictures; save the one to use",
    float_pixels: "1.tif has more than 16 bits a channel",
    colours_of_16_bits_in_tiff: "1.tif has 16 bits a channel in a form that is not read",
    a_transparent_colour_of_16_bits: "1.png has transparent pixels",
    damaged_pixels_of_16_bits: "1.png cannot be read",
    a_link_that_leads_nowhere: "gt/1.png cannot be read: No such file or directory",
    a_link_to_itself: "lq/1.png cannot be read",
    an_animation: "1.png holds 2 pictures; save the one to use",
    a_gif_called_png: "1.png cannot be read: it is no whole BMP, JPEG, PNG, TIFF, WEBP file",
    larger_unpacked_than_memory: "1.png cannot be read: Image size (3600000000 pixels) exceeds",
    larger_unpacked_than_memory_of_16_bits: "1.png cannot be read: Image size (3600000000 pix",
    folders_the_wrong_way_round: "18x13 pixels is not the 4x3",
    a_name_that_is_not_there: "there is no image 'eleven' in folder",
    several_images_smaller_than_a_patch: "no patch can be cut from 2 of 3 images (image '1' is 9x6",
    several_faults_at_once: "2 of 4 in folder",
    every_image_broken_and_skipped: "2 of 2 in folder",
    no_partner_where_images_are_found_one_by_one: "gt/1.png has no LR",
    frames_of_two_depths: "clip 'walk': frame 1.png has 18x12 pixels of uint16",
    images_where_clips_are_wanted: "gt holds no clip; a clip is a folder of frames in it",
    a_clip_without_frames: "gt/1 holds no image",
    a_clip_without_lr: "gt/1 has no LR: there is no folder '1'",
    a_frame_without_lr: "gt/1: 2 without LR, first frame '1'",
    frames_of_two_sizes: "clip 'walk': frame 1.png has 20x20 pixels",
    a_broken_frame: "walk/1.png cannot be read",
    a_clip_shorter_than_a_sample: "clip '1' has 3 frames, fewer than the 5 of a sample",
    an_even_window_with_a_centre: "a sample of 2 frames has no centre; take an odd number",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_one_sentence(tmp_path, fault):
    with pytest.raises(DataError) as caught:
        fault(tmp_path)
    sentence = str(caught.value)
    assert FAULTS[fault] in sentence
    assert "\n" not in sentence
    assert sentence.count(str(tmp_path)) <= 2
