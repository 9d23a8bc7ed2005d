/* Ranks of MPI that exchange the ends of their parts of a ring, and now and then a sum. */
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
