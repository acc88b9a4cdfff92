package PVE::Storage;
# Stands in for Proxmox's library: it does with LVM what PVE::Storage::LvmThinPlugin and PVE::Storage::LVMPlugin do for
# `thin-VG:LV` and `thick-VG:LV`. A thin volume is not deactivated by Proxmox, unless it is a snapshot or a base.
use strict;
use warnings;

sub config { return {}; }

sub _each {
    my ($volids, $do) = @_;
    for my $volid (@$volids) {
        my ($kind, $group, $name) = $volid =~ m!^(thin|thick)-(\w+):([\w-]+)$! or die "unable to parse volume ID '$volid'\n";
        $do->($kind, "$group/$name");
    }
    return;
}

sub _run {
    my ($why, @command) = @_;
    system(@command) == 0 or die "$why\n";
    return;
}

sub activate_volumes {
    my ($config, $volids) = @_;
    return _each($volids, sub {
        my ($kind, $volume) = @_;
        my $state = `lvs --noheadings -o lv_attr $volume 2>/dev/null`;
        $state =~ /\S/ or die "no such logical volume $volume\n";
        if ($kind eq 'thin') {
            return if $state =~ /^\s*....a/;
            return _run("activating LV '$volume' failed", 'lvchange', '-ay', '-K', $volume);
        }
        _run("can't activate LV '/dev/$volume' ", 'lvchange', '-aey', $volume);
        _run("can't refresh LV '/dev/$volume' for activation ", 'lvchange', '--refresh', $volume);
    });
}

sub deactivate_volumes {
    my ($config, $volids) = @_;
    return _each($volids, sub {
        my ($kind, $volume) = @_;
        return if $kind eq 'thin' || !-e "/dev/$volume";
        _run("can't deactivate LV '/dev/$volume'", 'lvchange', '-aln', $volume);
    });
}

1;
