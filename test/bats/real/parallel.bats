#!/usr/bin/env bats
# Parallel programs: the ranks of an MPI job and what starts them, on one machine.

load real

setup_file() { wants mpirun=openmpi-bin mpicc=libopenmpi-dev cc=gcc; }
setup()
{
	xos_setup
	need_root
	need_command mpirun mpicc
	export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
	mpicc -O2 -o "$BATS_TEST_TMPDIR/stencil" "$BATS_TEST_DIRNAME/stencil.c"
}
progress() { size_of out; }
results() { cat out; }

@test "Open MPI, four ranks over shared memory" {
	survive mpirun --oversubscribe -np 4 "$BATS_TEST_TMPDIR/stencil" $((20000 * LENGTH))
}

@test "Open MPI, four ranks over TCP" {
	survive mpirun --mca btl tcp,self --mca btl_tcp_if_include lo --oversubscribe -np 4 "$BATS_TEST_TMPDIR/stencil" $((15000 * LENGTH))
}
