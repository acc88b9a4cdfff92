package PVE::Storage;
# Stands in for Proxmox's library on a node of the lab: a volume of the stand-in's local-lvm is active as long as it
# exists, and as with LVM-thin nothing is deactivated. What it does not know it refuses.
use strict;
use warnings;

sub config { return {}; }

sub _check {
    my ($volids) = @_;
    for my $volid (@$volids) {
        my ($name) = $volid =~ m!^local-lvm:([^/]+)$! or die "unable to parse volume ID '$volid'\n";
        -b "/dev/pve/$name" or die "can't activate LV '/dev/pve/$name': no such logical volume pve/$name\n";
    }
    return;
}

sub activate_volumes { my ($config, $volids) = @_; return _check($volids); }
sub deactivate_volumes { my ($config, $volids) = @_; return _check($volids); }

1;
