"""How a disk is read and kept where it lies, and how far two volumes of one disk are compared."""

from __future__ import annotations

import re

# A file of the disk's bytes, a block device, or an image of which QEMU alone knows what the guest sees.
FILE = "file"
BLOCK = "block"
IMAGE = "image"

_OWNER = re.compile(r"(?:vm|base|subvol|basevol)-(\d+)-")
# Of the disk with EFI variables QEMU maps so many bytes, by its efitype: the sizes of Proxmox's OVMF_VARS_4M.fd and
# OVMF_VARS.fd, and on ARM of AAVMF_VARS.fd (PVE::QemuServer::OVMF). A volume may be larger.
EFI_BYTES = {"4m": 540672, "2m": 131072}
EFI_BYTES_ON_ARM = 64 << 20
# A volume of a container that is a directory: a file system of ZFS, a subvolume of btrfs, or a folder.
SUBVOLUME = "subvol"
# Storages on which Proxmox makes such volumes, whatever the archive was made of (PVE::LXC, create_disks).
OF_SUBVOLUMES = ("zfspool", "btrfs")
# Storages round up: LVM to its extents, ZFS and Ceph to megabytes. What is larger by more is another disk.
ROUNDED_UP = 64 << 20
# In what a new volume is measured, as far as Proxmox fixes it: LVM's default extents, ZFS and Ceph's megabytes
# (PVE::Storage::ZFSPoolPlugin, RBDPlugin), the kilobytes of a file (PVE::Storage::Plugin, alloc_image).
GRAINS = {
    **dict.fromkeys(("dir", "nfs", "cifs", "btrfs"), 1 << 10),
    "lvm": 4 << 20,
    "lvmthin": 4 << 20,
    "zfspool": 1 << 20,
    "rbd": 1 << 20,
}


def read_as(path: str, disk_format: str) -> str:
    """Return how a disk is read: by its path at the node, and its format, as the API states them."""
    if disk_format != "raw" or not path.startswith("/"):
        return IMAGE
    return BLOCK if path.startswith("/dev/") else FILE


# What changed blocks are carried of: QEMU writes other images less safely than it reads them.
CARRIED = ("raw", "qcow2")


def is_another_image(volid: str, disk_format: str) -> bool:
    """Say whether a volume is named as an image and the API states another format of it.

    Proxmox VE 9 keeps qcow2 images on LVM (`snapshot-as-volume-chain`), and states `raw` of them
    (PVE::Storage::LVMPlugin, volume_size_info): what is read and written as raw there is not what the guest sees.
    """
    ending = volid.rpartition("/")[2].rpartition(".")[2]
    return ending in ("qcow2", "vmdk") and ending != disk_format


def is_linked_clone(volid: str) -> bool:
    """Say whether the disk is what has changed since another one: Proxmox names that one in the volume's name."""
    return "/base-" in "/" + volid.partition(":")[2]


def is_owned(volid: str, vmid: int) -> bool:
    """Say whether Proxmox counts a volume as this guest's: by the folder it lies in, or the number in its name.

    Of a linked clone the last part is the guest's own (PVE::Storage, parse_volname of each plugin).
    """
    folder, _, name = ("/" + volid.partition(":")[2]).rpartition("/")
    folder = folder.rpartition("/")[2]
    if folder.isdigit():
        return int(folder) == vmid
    found = _OWNER.match(name)
    return found is not None and int(found[1]) == vmid


def is_subvolume(disk_format: str) -> bool:
    """Say whether a volume of this format is a directory, which has files and no blocks of its own."""
    return disk_format == SUBVOLUME


def lies_in_file(path: str) -> bool:
    """Say whether the disk lies in a file, whatever its format."""
    return path.startswith("/") and not path.startswith("/dev/")


def is_kept_as_copy(volid: str, path: str) -> bool:
    """Say whether a copy of the disk's file, put beside it, outlives the disk.

    Not on block devices; nor on btrfs, where the file lies in a subvolume that is removed with the disk; nor of a
    directory.
    """
    name = volid.rpartition(":")[2].rpartition("/")[2]
    return not name.startswith(("subvol-", "basevol-")) and lies_in_file(path) and path.rpartition("/")[2] == name


def efi_bytes(efitype: str, arch: str = "") -> int:
    """Return how many bytes of its EFI disk a guest sees (no type is 2m); 0 for a type that nobody knows."""
    if arch == "aarch64":
        return EFI_BYTES_ON_ARM
    return EFI_BYTES.get(efitype or "2m", 0) if arch in ("", "x86_64") else 0


def is_whole_file(volid: str, path: str) -> bool:
    """Say whether a copy of the disk's file is a copy of the disk."""
    return is_kept_as_copy(volid, path) and not is_linked_clone(volid)


def compared_length(*sizes: int, seen: int = 0) -> int:
    """Return how many bytes of a disk are compared: those that all its volumes have, and the guest can see.

    `seen` is what the guest sees of it at most; 0 where that is all.
    """
    length = min([size for size in sizes if size] or [0])
    return min(length, seen) if seen else length


def rounded_up(size: int, kind: str) -> int:
    """Return how large a new volume for a disk of this size gets on a storage of this type."""
    grain = GRAINS.get(kind, 1)
    return -(-size // grain) * grain


def is_rounded(name: str, length: int, size: int) -> bool:
    """Say whether a volume is as large as what it holds (in bytes), or larger by what a storage rounds up."""
    return name == "efidisk0" or 0 <= size - length < ROUNDED_UP


def is_large_enough(name: str, source: int, target: int, seen: int = 0) -> bool:
    """Say whether a volume can hold a copy of the disk, by the sizes of both: it is never smaller, and not another.

    `seen` is what the guest sees of its EFI disk at most; 0 where that is all.
    """
    if name == "efidisk0":
        return target >= (min(source, seen) if seen else source)
    return is_rounded(name, source, target)
