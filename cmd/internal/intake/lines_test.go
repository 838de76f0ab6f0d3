package intake

import "testing"

func TestLinesOfRows(t *testing.T) {
	var l lines
	for _, at := range [][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 7}, {5, 8}, {9, 12}, {10, 20}} {
		l.add(at[0], at[1])
	}
	for row, want := range map[int]int{1: 2, 3: 4, 4: 7, 5: 8, 9: 12, 10: 20, 0: 0} {
		if got := l.of(row); got != want {
			t.Errorf("row %d is on line %d, not %d", row, got, want)
		}
	}
	if len(l.steps) != 3 {
		t.Errorf("%d steps are kept", len(l.steps))
	}
	l.add(3, 21) // numbers of their own
	l.add(11, 22)
	if l.of(3) != 0 || l.of(11) != 0 {
		t.Error("lines are told of rows that are not in order")
	}
}
