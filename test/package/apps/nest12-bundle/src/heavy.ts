export const double = ({ n }: { n: number }): number => n * 2;
