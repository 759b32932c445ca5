module puna.example/puna

go 1.19
