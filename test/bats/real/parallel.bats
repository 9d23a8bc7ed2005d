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
	cat >"$BATS_TEST_TMPDIR/stencil.c" <<-'END'
		#include <mpi.h>
		#include <stdio.h>
		#include <stdlib.h>
		enum { N = 20000 };
		int main(int argc, char **argv)
		{
			double *a = calloc(N + 2, sizeof *a), *b = calloc(N + 2, sizeof *b);
			int rank, n, steps;
			MPI_Init(&argc, &argv);
			MPI_Comm_rank(MPI_COMM_WORLD, &rank);
			MPI_Comm_size(MPI_COMM_WORLD, &n);
			steps = atoi(argv[1]);
			for (int i = 1; i <= N; i++)
				a[i] = (rank * N + i) % 1000;
			for (int s = 0; s < steps; s++) {
				int left = (rank + n - 1) % n, right = (rank + 1) % n;
				double *t = a, mine = 0, all;
				MPI_Sendrecv(a + 1, 1, MPI_DOUBLE, left, 0, a + N + 1, 1, MPI_DOUBLE, right, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
				MPI_Sendrecv(a + N, 1, MPI_DOUBLE, right, 1, a, 1, MPI_DOUBLE, left, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
				for (int i = 1; i <= N; i++)
					b[i] = (a[i - 1] + a[i] + a[i + 1]) / 3;
				a = b;
				b = t;
				if (s % 100)
					continue;
				for (int i = 1; i <= N; i++)
					mine += a[i] * i;
				MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
				if (!rank) {
					printf("%d %.6f\n", s, all);
					fflush(stdout);
				}
			}
			MPI_Finalize();
			return 0;
		}
	END
	mpicc -O2 -o "$BATS_TEST_TMPDIR/stencil" "$BATS_TEST_TMPDIR/stencil.c"
}
progress() { size_of out; }
results() { cat out; }

@test "Open MPI, four ranks over shared memory" {
	survive mpirun --oversubscribe -np 4 "$BATS_TEST_TMPDIR/stencil" $((20000 * LENGTH))
}

@test "Open MPI, four ranks over TCP" {
	survive mpirun --mca btl tcp,self --mca btl_tcp_if_include lo --oversubscribe -np 4 "$BATS_TEST_TMPDIR/stencil" $((15000 * LENGTH))
}
