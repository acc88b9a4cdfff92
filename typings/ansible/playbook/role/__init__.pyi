class Role:
    public: bool
